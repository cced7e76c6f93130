"""Where a store is: a path or a URL, read into what SQLAlchemy opens and a name that shows no password."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from guerdon.core.errors import DataError

if TYPE_CHECKING:
    from sqlalchemy import URL

_SECRETS = ("password", "sslpassword", "passfile")
_EXPECTED = "expected a path, sqlite:///PATH or postgresql://USER:PASSWORD@HOST/DATABASE"


class Place(NamedTuple):
    """A place that was read.

    Attributes:
        url: What SQLAlchemy opens.
        name: How messages call it: without a password.
        file: The file of SQLite; None for PostgreSQL.
    """

    url: URL
    name: str
    file: Path | None

    def hide(self, text: str) -> str:
        """A driver's message without what must stay secret."""
        for secret in (self.url.password, *(self.url.query.get(k) for k in _SECRETS)):
            if secret:
                text = text.replace(str(secret), "***")
        return text


def read_place(url: str | os.PathLike[str]) -> Place:
    """Reads a path or a URL.

    Raises:
        DataError: where it is neither, or SQLAlchemy is not installed.
    """
    try:
        from sqlalchemy import URL, make_url
        from sqlalchemy.exc import ArgumentError
    except ModuleNotFoundError:
        raise DataError("the feedback store needs SQLAlchemy: pip install 'guerdon[feedback]'") from None
    text: Any = os.fspath(url)
    if not isinstance(text, str) or not text.strip() or "\x00" in text:
        raise DataError(f"no place for a feedback store: {text!r}; {_EXPECTED}")
    if "://" not in text:
        return _file(URL.create("sqlite", database=text))
    try:
        parsed = make_url(text)
    except (ArgumentError, ValueError):  # its message may hold parts of the password
        raise DataError(f"the URL of the feedback store cannot be read; {_EXPECTED}") from None
    scheme = parsed.drivername
    if scheme in ("sqlite", "sqlite+pysqlite"):
        if parsed.query or parsed.host:
            raise DataError(f"{_name(parsed)}: an SQLite URL is sqlite:///PATH and nothing more")
        return _file(URL.create("sqlite", database=parsed.database))
    if scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        parsed = parsed.set(drivername="postgresql+psycopg")
        if "connect_timeout" not in parsed.query:
            parsed = parsed.update_query_dict({"connect_timeout": "10"})
        return Place(parsed, _name(parsed), None)
    raise DataError(f"no feedback store opens {scheme}://; {_EXPECTED}")


def _file(url: URL) -> Place:
    if url.database in (None, "", ":memory:"):
        raise DataError(f"a feedback store is kept in a file, not in memory; {_EXPECTED}")
    file = Path(str(url.database)).expanduser().absolute()  # a later change of folder must not lead to another file
    return Place(url.set(database=str(file)), str(url.database), file)


def _name(url: URL) -> str:
    """The URL without secrets and without how to connect."""
    return url.set(query={}).render_as_string(hide_password=True).replace("+psycopg", "", 1)


def check_file(place: Place, file: Path) -> None:
    """Refuses what is no file that a store can be kept in, before anything touches it.

    Raises:
        DataError: for a folder, a file of another kind, or a place that cannot be written.
    """
    try:
        if file.is_dir():
            raise DataError(f"{place.name}: is a folder, expected the file of a feedback store")
        if not file.parent.is_dir():
            raise DataError(f"{place.name}: there is no folder {file.parent}")
        with file.open("rb") as f:
            head = f.read(16)
    except FileNotFoundError:
        head = b""
    except OSError as e:
        raise DataError(f"{place.name}: cannot be read ({e.strerror})") from None
    if head and head != b"SQLite format 3\x00":
        raise DataError(f"{place.name}: is not an SQLite database, so no feedback store")
    for path in (file.parent, file):  # SQLite writes files beside its own
        if path.exists() and not os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            raise DataError(f"{place.name}: {path} cannot be written, and a feedback store must be")
