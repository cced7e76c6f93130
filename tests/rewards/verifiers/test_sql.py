"""SQL: results that are equal and results that are not, on tables small enough to check by hand; and queries that mean harm."""

import sqlite3
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from guerdon.core import PlanError, RewardError
from guerdon.rewards import recorded
from guerdon.rewards.sandbox import Called, Ended, Limits, Returned, shared_sandbox
from guerdon.rewards.verifiers import sql as sql_module
from guerdon.rewards.verifiers.sql import SQL
from guerdon.rewards.verifiers.sql_results import Table
from guerdon.rewards.verifiers.verifier import Checked

SCRIPT = """
CREATE TABLE emp (id INTEGER PRIMARY KEY, name TEXT, dept TEXT, pay REAL, boss INTEGER);
INSERT INTO emp VALUES
    (1, 'Ann', 'dev', 10.5, NULL), (2, 'Bob', 'dev', 9.5, 1), (3, 'Cid', 'ops', 9.5, 1), (4, 'Dan', 'ops', 8.0, 3), (5, 'Eve', NULL, 8.0, 3);
CREATE TABLE none (x INTEGER, y INTEGER);
"""

# (what it shows, known query, query of the output, right)
PAIRS = [
    ("the same text", "SELECT name FROM emp", "SELECT name FROM emp", True),
    ("capitals, spaces, a semicolon", "SELECT name FROM emp", "select  NAME\nfrom EMP ; ", True),
    ("a comment behind the semicolon", "SELECT name FROM emp", "SELECT name FROM emp; -- all of them", True),
    ("no order asked, another given", "SELECT name FROM emp", "SELECT name FROM emp ORDER BY id DESC", True),
    ("order asked and kept", "SELECT name FROM emp ORDER BY pay DESC, id", "SELECT name FROM emp ORDER BY -pay, name", True),
    ("order asked and turned round", "SELECT name FROM emp ORDER BY id", "SELECT name FROM emp ORDER BY id DESC", False),
    ("order asked, ties in another order", "SELECT name FROM emp ORDER BY pay, id", "SELECT name FROM emp ORDER BY pay, id DESC", False),
    ("ties that show no difference", "SELECT pay FROM emp ORDER BY pay", "SELECT pay FROM emp ORDER BY pay, name DESC", True),
    ("order in a subquery only", "SELECT name FROM (SELECT name FROM emp ORDER BY id)", "SELECT name FROM emp ORDER BY id DESC", True),
    ("order in a window only", "SELECT name, rank() OVER (ORDER BY pay) FROM emp", "SELECT name, (SELECT 1 + count(*) FROM emp f WHERE f.pay < e.pay) FROM emp e ORDER BY name DESC", True),
    ("'ORDER BY' in a text only", "SELECT id, 'ORDER BY' FROM emp", "SELECT id, 'ORDER BY' FROM emp ORDER BY id DESC", True),
    ("order with a comment inside", "SELECT id FROM emp ORDER/* */BY id", "SELECT id FROM emp ORDER BY id DESC", False),
    ("duplicates kept", "SELECT dept FROM emp", "SELECT dept FROM emp ORDER BY dept", True),
    ("duplicates lost by DISTINCT", "SELECT dept FROM emp", "SELECT DISTINCT dept FROM emp", False),
    ("DISTINCT and GROUP BY", "SELECT DISTINCT dept FROM emp", "SELECT dept FROM emp GROUP BY dept", True),
    ("the same set, other counts", "SELECT pay FROM emp WHERE id IN (2, 3, 4)", "SELECT pay FROM emp WHERE id IN (2, 4, 5)", False),
    ("UNION ALL for UNION", "SELECT dept FROM emp UNION SELECT dept FROM emp", "SELECT dept FROM emp UNION ALL SELECT dept FROM emp", False),
    ("NULL equals NULL", "SELECT boss FROM emp WHERE id = 1", "SELECT NULL", True),
    ("NULL is no 0", "SELECT boss FROM emp WHERE id = 1", "SELECT 0", False),
    ("NULL is no empty text", "SELECT boss FROM emp WHERE id = 1", "SELECT ''", False),
    ("NULL is not 'NULL'", "SELECT boss FROM emp WHERE id = 1", "SELECT 'NULL'", False),
    ("a row lost at a NULL", "SELECT name FROM emp WHERE dept IS NOT 'dev'", "SELECT name FROM emp WHERE dept <> 'dev'", False),
    ("LIMIT by another way", "SELECT name FROM emp ORDER BY pay DESC LIMIT 1", "SELECT name FROM emp WHERE pay = (SELECT max(pay) FROM emp)", True),
    ("a LIMIT that cuts", "SELECT name FROM emp", "SELECT name FROM emp LIMIT 4", False),
    ("integer and real", "SELECT 3", "SELECT 3.0", True),
    ("number and text", "SELECT 3", "SELECT '3'", False),
    ("text and blob", "SELECT 'a'", "SELECT CAST('a' AS BLOB)", False),
    ("equal blobs", "SELECT x'00ff'", "SELECT CAST(x'00ff' AS BLOB)", True),
    ("text that is not UTF-8", "SELECT CAST(x'ff' AS TEXT)", "SELECT CAST(x'ff' AS TEXT)", True),
    ("sums in another order", "SELECT 0.1 + 0.2", "SELECT 0.3", True),
    ("about zero", "SELECT 0.1 + 0.2 - 0.3", "SELECT 0", True),
    ("rounded too early", "SELECT avg(pay) FROM emp WHERE id < 4", "SELECT round(avg(pay), 2) FROM emp WHERE id < 4", False),
    ("large integers one apart", "SELECT 10000000000", "SELECT 10000000001", False),
    ("infinite", "SELECT 9e999", "SELECT 9e999", True),
    ("infinite, the other way", "SELECT 9e999", "SELECT -9e999", False),
    ("two empty results", "SELECT x FROM none", "SELECT y FROM none WHERE y > 3", True),
    ("two empty results of other widths", "SELECT x FROM none", "SELECT x, y FROM none", False),
    ("an empty one", "SELECT x FROM none", "SELECT 1", False),
    ("count of nothing is a row", "SELECT count(*) FROM none", "SELECT x FROM none", False),
    ("another name of the column", "SELECT name FROM emp", "SELECT name AS person FROM emp", True),
    ("columns in another order", "SELECT name, pay FROM emp", "SELECT pay, name FROM emp", True),
    ("columns in another order, rows too", "SELECT name, pay, id FROM emp", "SELECT id, name, pay FROM emp ORDER BY pay", True),
    ("columns in another order, order asked", "SELECT name, pay FROM emp ORDER BY id", "SELECT pay, name FROM emp ORDER BY id", True),
    ("each column right, the rows not", "SELECT id, pay FROM emp WHERE id < 3", "SELECT 1, 9.5 UNION ALL SELECT 2, 10.5", False),
    ("one column twice", "SELECT id, boss FROM emp", "SELECT id, id FROM emp", False),
    ("a column too many", "SELECT name FROM emp", "SELECT name, id FROM emp", False),
    ("json is read", "SELECT 2 UNION ALL SELECT 1", "SELECT value FROM json_each('[1, 2]')", True),
    ("recursion that ends", "SELECT id FROM emp", "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 5) SELECT n FROM c", True),
]  # fmt: skip

# (what it tries, query, what the note says)
ATTACKS = [
    ("endless recursion", "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT sum(n) FROM c", "more than 2000000 steps"),
    ("endless rows", "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c", "more than 10000 rows"),
    ("cross join", "SELECT count(*) FROM " + ", ".join(f"emp e{k}" for k in range(40)), "more than 2000000 steps"),
    ("another file", "ATTACH DATABASE '/etc/passwd' AS p", "not allowed: ATTACH"),
    ("a new file", "VACUUM INTO '{folder}/copy.db'", "not allowed: ATTACH"),
    ("native code", "SELECT load_extension('/lib/x86_64-linux-gnu/libc.so.6')", "not allowed: load_extension()"),
    ("native code by a pointer", "SELECT fts3_tokenizer('simple', x'4141414141414141')", "not allowed: fts3_tokenizer()"),
    ("read a file", "SELECT readfile('/etc/passwd')", "no such function: readfile"),
    ("write a file", "SELECT writefile('{folder}/x', 'y')", "no such function: writefile"),
    ("a setting", "PRAGMA query_only = OFF", "not allowed: PRAGMA"),
    ("a setting as a table", "SELECT * FROM pragma_database_list", "not allowed"),
    ("two statements", "SELECT name FROM emp; SELECT 1", "one statement"),
    ("two statements, one in a comment's shadow", "SELECT name FROM emp /* ; */ ; /* */ DROP TABLE emp", "one statement"),
    ("a statement behind a comment", "-- SELECT name FROM emp\nDELETE FROM emp", "not allowed: DELETE"),
    ("write", "INSERT INTO emp (name) VALUES ('Flo') RETURNING name", "not allowed"),
    ("write behind WITH", "WITH a AS (SELECT 1) UPDATE emp SET pay = 0 RETURNING name", "not allowed"),
    ("a table", "CREATE TABLE t AS SELECT name FROM emp", "not allowed"),
    ("a transaction", "BEGIN IMMEDIATE", "not allowed: TRANSACTION"),
    ("a huge blob", "SELECT zeroblob(2000000000)", "too big"),
    ("huge blobs that nobody sees", "SELECT length(hex(zeroblob(900000)) || hex(zeroblob(900000)))", "too big"),
    ("a lucky guess", "SELECT name FROM emp WHERE random() > 0", "not allowed: random()"),
    ("a lucky order", "SELECT name FROM emp ORDER BY RANDOM ()", "not allowed: random()"),
    ("random bytes", "SELECT hex(randomblob(4))", "not allowed: randomblob()"),
    ("the known query's text", "SELECT sql FROM sqlite_master", "rows"),
    ("the statements that run", "SELECT sql FROM sqlite_stmt", "not allowed"),
    ("a NULL byte", "SELECT name FROM emp\0; DROP TABLE emp", "null character"),
    ("half a character", "SELECT '\ud800'", "surrogates not allowed"),
    ("nothing", "  ", "gives no table"),
    ("only a comment", "-- SELECT name FROM emp", "gives no table"),
    ("deep brackets", "SELECT " + "(" * 20_000 + "1" + ")" * 20_000, "parser stack overflow"),
    ("a long text", "SELECT '" + "x" * 200_000 + "'", "more than 100000 characters"),
    ("no SQL", "The names are Ann and Bob.", "syntax error"),
]  # fmt: skip


def verdicts(reward: SQL, queries: Sequence[tuple[str, str]], database: Any = SCRIPT) -> list[Checked]:
    """Verdicts on (known query, output) pairs."""
    columns = {"query": [q for q, _ in queries], "database": [database] * len(queries)}
    return reward.verdicts(recorded(["q"] * len(queries), [o for _, o in queries], columns))


def one(output: str, query: str = "SELECT name FROM emp", database: Any = SCRIPT, **options: Any) -> Checked:
    return verdicts(SQL(**options), [(query, output)], database)[0]


@pytest.fixture(scope="module")
def judged() -> dict[str, Checked]:
    found = verdicts(SQL(), [(gold, output) for _, gold, output, _ in PAIRS])
    return dict(zip([p[0] for p in PAIRS], found, strict=True))


@pytest.mark.parametrize(("name", "right"), [(p[0], p[3]) for p in PAIRS], ids=[p[0] for p in PAIRS])
def test_result_equality_by_hand(judged: Mapping[str, Checked], name: str, right: bool) -> None:
    checked = judged[name]
    assert (checked.total, checked.reason) == (float(right), "")
    assert (checked.note == "") == right
    assert checked.parts["ran"] == 1.0


def test_an_equal_result_says_that_it_is_empty(judged: Mapping[str, Checked]) -> None:
    assert judged["two empty results"].parts["empty"] == 1.0
    assert judged["an empty one"].parts["empty"] == 1.0
    assert judged["count of nothing is a row"].parts["empty"] == 0.0


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Checked], list[Path]]:
    folder = tmp_path_factory.mktemp("attacked")
    pairs = [("SELECT name FROM emp", query.replace("{folder}", str(folder))) for _, query, _ in ATTACKS]
    between = [("SELECT name FROM emp", "SELECT name FROM emp -- honest")]
    found = verdicts(SQL(steps=2_000_000), pairs + between)
    assert found.pop().total == 1.0
    return dict(zip([a[0] for a in ATTACKS], found, strict=True)), list(folder.iterdir())


@pytest.mark.parametrize(("name", "note"), [(a[0], a[2]) for a in ATTACKS], ids=[a[0] for a in ATTACKS])
def test_attacks_get_nothing(attacked: tuple[dict[str, Checked], list[Path]], name: str, note: str) -> None:
    checked = attacked[0][name]
    assert (checked.total, checked.reason) == (0.0, "")
    assert note in checked.note
    assert attacked[1] == []


@pytest.mark.parametrize(
    "query",
    [
        "SELECT printf('%.*c', 2000000000, 'x')",
        "SELECT group_concat(hex(zeroblob(90000))) FROM (WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n FROM c) SELECT n FROM c)",
    ],
)
def test_one_instruction_that_takes_for_ever_is_killed(query: str) -> None:
    start = time.monotonic()
    checked = one(query, limits=Limits(cpu=1.0, wall=8.0, output=16 << 20))
    assert (checked.total, checked.reason) == (0.0, "")
    if "big" not in checked.note:  # sqlite may refuse the length at once
        assert not checked.lasting
    assert time.monotonic() - start < 20
    assert one("SELECT name FROM emp").total == 1.0


def test_the_query_never_meets_the_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    box = Recorder()
    monkeypatch.setattr(sql_module, "shared_sandbox", lambda: box)
    monkeypatch.setattr(sql_module, "_golds", sql_module.Results())
    assert verdicts(SQL(), [("SELECT name FROM emp WHERE id = 4", f"SELECT 'Dan' -- {k}") for k in range(3)])[0].total == 1.0
    known = [c for c in box.sent if "id = 4" in str(c)]
    rest = [c for c in box.sent if "id = 4" not in str(c)]
    assert (len(known), len(rest)) == (1, 3)  # the known one ran once for all three
    assert all(len(calls) == 1 and "-- " in calls[0][1][1] for calls in rest)


class Recorder:
    """A sandbox that notes what it is asked."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def calls(self, source: str, calls: Sequence[Any], *, limits: Limits) -> Called:
        self.sent.append(calls)
        return shared_sandbox().calls(source, calls, limits=limits)


@pytest.mark.parametrize("value", [None, 1, "x", {}, {"columns": []}, {"columns": ["a"], "rows": [[1, 2]]}, {"columns": ["a"], "rows": 3}, {"columns": ["a"], "rows": [[True]]}, {"columns": ["a"], "rows": [[{"a": "b"}]]}, {"columns": ["a"], "rows": [[[1]]]}, {"columns": [], "rows": [[], []]}, {"columns": ["a"], "rows": [[float("nan")]]}])  # fmt: skip
def test_a_process_that_answers_nonsense_is_wrong(monkeypatch: pytest.MonkeyPatch, value: Any) -> None:
    good = {"columns": ["name"], "rows": [["Ann"]]}
    liar = Liar([good, value])
    monkeypatch.setattr(sql_module, "shared_sandbox", lambda: liar)
    monkeypatch.setattr(sql_module, "_golds", sql_module.Results())
    checked = SQL().check("SELECT 1", query="SELECT 1", database=SCRIPT)
    assert (checked.total, checked.reason, checked.note) == (0.0, "", "the answer is no table")


class Liar:
    """A sandbox whose processes answer what they are told to."""

    def __init__(self, values: list[Any], ended: Ended = Ended()) -> None:
        self.values, self.ended = values, ended

    def calls(self, *_: Any, **__: Any) -> Called:
        return Called((Returned(self.values.pop(0)),) if self.values else (), self.ended)


def test_known_results_are_kept_up_to_a_size() -> None:
    kept = sql_module.Results(size=2, cells=3)
    for k in range(3):
        kept.put(b"%d" % k, ([Table(["a"], [[k]])], ""))
    kept.put(b"large", ([Table(["a"], [[1]] * 4)], ""))
    assert [kept.get(b"0"), kept.get(b"large")] == [None, None]
    assert kept.get(b"2") == ([Table(["a"], [[2]])], "")


def test_a_sandbox_that_fails_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_module, "shared_sandbox", lambda: Liar([], Ended("sandbox", "no zygote")))
    monkeypatch.setattr(sql_module, "_golds", sql_module.Results())
    assert SQL().check("SELECT 1", query="SELECT 1", database=SCRIPT).reason == "no zygote"


def test_a_known_query_that_fails_is_no_verdict() -> None:
    cases = {
        "SELECT nobody FROM emp": "the known query fails: no such column: nobody",
        "SELECT name FROM emp ORDER BY random()": "the known query fails: not allowed: random()",
        "SELECT a.id FROM emp a, emp b, emp c, emp d, emp e, emp f": "the known query fails: gives more than 10000 rows",
        "": "the known query is no text",
    }
    found = verdicts(SQL(), [(q, "SELECT 1") for q in cases])
    assert [c.reason for c in found] == list(cases.values())
    out = SQL()(recorded(["q"], ["SELECT 1"], {"query": ["SELECT nobody FROM emp"], "database": [SCRIPT]}))
    assert out.ok.tolist() == [False]


def test_options() -> None:
    two, swapped = "SELECT name, pay FROM emp", "SELECT pay, name FROM emp"
    assert one(swapped, two, permute=False).total == 0.0
    assert one(two, two, permute=False, names=True).total == 1.0
    assert one("SELECT NAME, Pay FROM emp", two, names=True).total == 1.0
    assert one(swapped, two, names=True).total == 1.0
    assert one("SELECT pay AS name, name AS pay FROM emp", two, names=True).total == 0.0
    assert one("SELECT name AS person FROM emp", names=True).note == "columns ['person'], expected ['name']"
    assert one("SELECT name FROM emp ORDER BY id DESC", ordered=True).note == "rows in another order"
    assert one("SELECT name FROM emp ORDER BY id DESC", "SELECT name FROM emp ORDER BY id", ordered=False).total == 1.0
    assert one("SELECT 0.3", "SELECT 0.1 + 0.2", tolerance=0.0).total == 0.0
    assert one("SELECT 9.83", "SELECT avg(pay) FROM emp WHERE id < 4", tolerance=1e-3).total == 1.0
    assert one("SELECT name FROM emp", rows=4).reason == "the known query fails: gives more than 4 rows"


def test_partial_credit_by_hand() -> None:
    # 3 of the 5 known names and 1 that is not there: F1 = 2 * 3 / (5 + 4)
    query = "SELECT name FROM emp WHERE id < 4 UNION ALL SELECT 'Zoe'"
    assert one(query).parts["f1"] == pytest.approx(6 / 9)
    assert one(query).total == 0.0
    assert one(query, partial=True).total == pytest.approx(3 / 9)
    assert one("SELECT name FROM emp", partial=True).total == 1.0
    backwards = one("SELECT name FROM emp ORDER BY id DESC", "SELECT name FROM emp ORDER BY id", partial=True)
    assert (backwards.total, backwards.parts["f1"]) == (0.5, 1.0)
    assert one("SELECT nobody FROM emp", partial=True).total == 0.0


def test_all_databases_count() -> None:
    # the two queries agree on the first database and not on the second
    first, second = (
        f"CREATE TABLE t (a INTEGER, b INTEGER); INSERT INTO t VALUES {rows};" for rows in ("(1, 1)", "(1, 2), (0, 3)")
    )
    apart = one("SELECT b FROM t", "SELECT a FROM t", [first, second], partial=True)
    assert (apart.total, apart.parts["equal"], apart.parts["ran"], apart.parts["f1"]) == (0.25, 0.5, 1.0, 0.5)
    assert one("SELECT a FROM t WHERE 1", "SELECT a FROM t", [first, second]).total == 1.0
    third = "CREATE TABLE t (a INTEGER)"
    half = one("SELECT b FROM t", "SELECT a FROM t", [first, third])
    assert (half.total, half.parts["ran"], half.note) == (0.0, 0.5, "no such column: b (database 2)")
    assert (
        one("SELECT b FROM t", "SELECT b FROM t", [first, third]).reason
        == "the known query fails: no such column: b (database 2)"
    )
    assert one("SELECT 1", "SELECT 1", []).reason == "the task has no database"


def test_database_files(tmp_path: Path) -> None:
    plain, wal = tmp_path / "plain.sqlite", tmp_path / "wal.db"
    for path in (plain, wal):
        with sqlite3.connect(path) as connection:
            connection.executescript(SCRIPT)
            connection.execute(f"PRAGMA journal_mode = {path.stem if path is wal else 'delete'}")
        connection.close()
    before = plain.read_bytes()
    assert one("SELECT name FROM emp", database=str(plain)).total == 1.0
    assert one("SELECT name FROM emp", database=[str(wal), SCRIPT]).total == 1.0
    assert one("DELETE FROM emp", database=str(plain)).total == 0.0
    assert plain.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["plain.sqlite", "wal.db"]
    (tmp_path / "wal.db-wal").write_bytes(b"changes")
    assert "still in wal.db-wal" in one("SELECT 1", database=str(wal)).reason
    (tmp_path / "text.db").write_text("no database")
    assert one("SELECT 1", database=str(tmp_path / "text.db")).reason.endswith("text.db: is no sqlite database")
    assert (
        one("SELECT 1", database="nowhere.sqlite").reason
        == "nowhere.sqlite: cannot be read as a database (No such file or directory)"
    )
    (tmp_path / "torn.db").write_bytes(before[:2000])
    assert one("SELECT name FROM emp", database=str(tmp_path / "torn.db")).reason.startswith("the known query fails: ")
    assert one("SELECT 1", database=7).reason == "expected a database as SQL text or a path, got int"
    assert one("SELECT 1", "SELECT 1", "CREATE TABLE (").reason.startswith(
        "the known query fails: the database cannot be opened: near"
    )


def test_full_text_tables_can_be_read() -> None:
    script = "CREATE VIRTUAL TABLE f USING fts5(x); INSERT INTO f VALUES ('good day'), ('bad day')"
    assert one("SELECT x FROM f WHERE x LIKE 'good%'", "SELECT x FROM f WHERE f MATCH 'good'", script).total == 1.0
    assert one("INSERT INTO f(f) VALUES ('rebuild')", "SELECT x FROM f", script).note == "not allowed: INSERT"


def test_what_depends_on_the_clock_is_not_remembered() -> None:
    assert one("SELECT date()", "SELECT date('now')").lasting is False
    assert one("SELECT '2020-01-01'", "SELECT '2020-01-01'").lasting is True


def test_bad_options_are_refused() -> None:
    for options in ({"tolerance": -1.0}, {"tolerance": float("nan")}, {"rows": 0}, {"steps": 0}):
        with pytest.raises(PlanError, match="SQL: "):
            SQL(**options)
    with pytest.raises(RewardError, match="no column 'query'; did you mean 'querys'"):
        SQL()(recorded(["q"], ["SELECT 1"], {"querys": ["SELECT 1"], "database": [SCRIPT]}))
