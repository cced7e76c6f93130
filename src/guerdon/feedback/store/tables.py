"""The tables. Needs SQLAlchemy."""

from __future__ import annotations

from sqlalchemy import (
    DDL,
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    event,
)

VERSION = 1  # of this schema; a change of it needs a migration
APPLICATION = 0x67756572  # "guer", in the header of an SQLite file

metadata = MetaData()

# A serial number: SQLite only counts in its own INTEGER PRIMARY KEY, and AUTOINCREMENT gives no number twice.
_NUMBER = BigInteger().with_variant(Integer(), "sqlite")

version = Table("guerdon_store", metadata, Column("version", Integer, nullable=False))

# A record: its JSON, and the columns that find it.
feedback = Table(
    "guerdon_feedback",
    metadata,
    Column("seq", _NUMBER, Identity(always=False), primary_key=True),  # order of insertion
    Column("id", String(32), nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("annotator", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("time", Double),  # when it was said
    Column("context", String(32), nullable=False),
    Column("stored", Double, nullable=False),
    Column("record", Text, nullable=False),
    sqlite_autoincrement=True,
)
Index("guerdon_feedback_annotator", feedback.c.annotator, feedback.c.seq)
Index("guerdon_feedback_context", feedback.c.context, feedback.c.seq)

# The sampled rows that a record is about.
uids = Table(
    "guerdon_uid",
    metadata,
    Column("id", String(32), ForeignKey(feedback.c.id), primary_key=True),
    Column("uid", BigInteger, primary_key=True),
)
Index("guerdon_uid_uid", uids.c.uid)

# What ended a record: a correction (``new`` is what stands in its place) or a retraction (``new`` is null). ``old`` and ``new``
# are unique, so that a record ends once and a chain never branches, whatever happens at the same time.
mark = Table(
    "guerdon_mark",
    metadata,
    Column("seq", _NUMBER, Identity(always=False), primary_key=True),
    Column("old", String(32), ForeignKey(feedback.c.id), nullable=False, unique=True),
    Column("new", String(32), ForeignKey(feedback.c.id), unique=True),
    Column("by", Text, nullable=False),
    Column("time", Double),
    Column("reason", Text, nullable=False),
    sqlite_autoincrement=True,
)

# That something was erased; never whose.
erasure = Table(
    "guerdon_erasure",
    metadata,
    Column("seq", _NUMBER, Identity(always=False), primary_key=True),
    Column("time", Double, nullable=False),
    Column("records", BigInteger, nullable=False),
    Column("marks", BigInteger, nullable=False),
    Column("finished", Double),
    sqlite_autoincrement=True,
)

# PostgreSQL's statistics keep samples of a column's values, which erasing rows would leave behind: keep none of what people say.
for _table, _names in ((feedback, ("annotator", "source", "record")), (mark, ("by", "reason"))):
    for _name in _names:
        _ddl = DDL(f'ALTER TABLE {_table.name} ALTER COLUMN "{_name}" SET STATISTICS 0')
        event.listen(_table, "after_create", _ddl.execute_if(dialect="postgresql"))
