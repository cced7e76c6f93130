"""What exams a row's tests ask for, and what its prompt offers them. Both are trusted, and only read here, not run."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from guerdon.core import DataError


class Exam(NamedTuple):
    """One exam.

    Attributes:
        code: Test code, complete.
        call: Function of the program that ``check`` is called with behind the code; "" where nothing is called.
    """

    code: str
    call: str = ""


class Exams(NamedTuple):
    """The tests of a row.

    Attributes:
        whole: All of them in one; None where they cannot be put behind each other.
        each: One by one.
    """

    whole: Exam | None
    each: tuple[Exam, ...]


@lru_cache(maxsize=4096)  # many outputs share a test
def exams_of(texts: tuple[str, ...], alone: bool, entry_point: str = "", setup: str = "") -> Exams:
    """The exams that some test texts ask for.

    Args:
        texts: Test code.
        alone: Whether it was one text, else a list of them.
        entry_point: Function under test, "" where the tests name it.
        setup: Code that goes before every test.

    Raises:
        DataError: for a test that cannot be read, that checks nothing, or that imports what is not installed.
    """
    each: list[Exam] = []
    wholes: list[Exam] = []
    head = f"{setup.rstrip()}\n" if setup.strip() else ""
    for k, text in enumerate(texts):
        where = "test" if alone else f"test {k + 1} of {len(texts)}"
        tree, code = _parsed(head + text, where), head + text
        functions = {s.name: s for s in tree.body if isinstance(s, ast.FunctionDef)}
        if any(isinstance(s, ast.ClassDef) and _is_test_case(s) for s in tree.body):
            raise DataError(
                f"{where} is a unittest class, which is not supported; asserts, check(candidate) and test_ functions are"
            )
        if "check" in functions and not _runs(tree, "check"):
            if not entry_point:
                raise DataError(f"{where} defines check(candidate), and there is no entry_point to call it with")
            says, found = _says(functions["check"].body), [Exam(code, entry_point)]
        elif named := [n for n in functions if n.startswith("test_") and not _runs(tree, n)]:
            says, found = all(_says(functions[n].body) for n in named), [Exam(f"{code}\n{n}()") for n in named]
        else:
            says, found = _says(_top(tree)), [Exam(code)]
        if not says:
            raise DataError(f"{where} checks nothing")
        each += found
        wholes.append(found[0] if len(found) == 1 else Exam("\n".join([code, *(f"{n}()" for n in named)])))
    if not each:
        raise DataError("the list of tests is empty")
    if len(wholes) == 1:
        return Exams(wholes[0], tuple(each))
    joined = None if any(w.call for w in wholes) else Exam("\n".join(w.code for w in wholes))
    return Exams(joined, tuple(each))


def _parsed(code: str, where: str) -> ast.Module:
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError) as e:
        raise DataError(f"{where} is not Python: {str(e).splitlines()[0]}") from None
    for name in _imports(tree.body):
        if not _installed(name):
            raise DataError(f"{where} imports {name}, which is not installed")
    return tree


def _top(tree: ast.Module) -> list[ast.stmt]:
    """Statements that run by themselves: no definitions, nothing under ``if __name__ == "__main__"``."""
    defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
    return [s for s in tree.body if not isinstance(s, defined) and not (isinstance(s, ast.If) and _names_main(s.test))]


def _names_main(test: ast.expr) -> bool:
    return any(isinstance(n, ast.Name) and n.id == "__name__" for n in ast.walk(test))


def _runs(tree: ast.Module, name: str) -> bool:
    """Whether the top level calls a function by its name."""
    return any(
        isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == name for s in _top(tree) for n in ast.walk(s)
    )


def _says(body: Sequence[ast.stmt]) -> bool:
    """Whether anything in it can fail by what the program does: an assertion, a call, an error raised."""
    return any(isinstance(n, ast.Assert | ast.Call | ast.Raise) for s in body for n in ast.walk(s))


def _is_test_case(s: ast.ClassDef) -> bool:
    return any((b.attr if isinstance(b, ast.Attribute) else getattr(b, "id", "")).endswith("TestCase") for b in s.bases)


def _imports(body: Sequence[ast.stmt]) -> Iterator[str]:
    """Top-level packages imported anywhere but inside ``try``."""
    for s in body:
        if isinstance(s, ast.Import):
            yield from (a.name.partition(".")[0] for a in s.names)
        elif isinstance(s, ast.ImportFrom):
            if s.module and not s.level:
                yield s.module.partition(".")[0]
        elif not isinstance(s, ast.Try):
            for inner in ("body", "orelse"):
                yield from _imports(getattr(s, inner, []))


@lru_cache(maxsize=1024)
def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # ValueError: there, without a spec (__main__)
        return True


@lru_cache(maxsize=4096)
def helpers(prompt: str, entry_point: str) -> str:
    r"""What a trusted prompt offers beside the function it asks for: its imports, constants, and functions that have a body.

    Args:
        prompt: Python, complete or cut off behind the head of a function.
        entry_point: The function asked for, left out; functions with nothing but a docstring are left out as well.

    Raises:
        DataError: where it is not Python.

    >>> print(helpers('import math\ndef half(x):\n    return x / 2\ndef f(x):\n    "Third of x."\n', "f"))
    import math
    <BLANKLINE>
    def half(x):
        return x / 2
    """
    if not prompt.strip():
        return ""
    tree = None
    for end in ("", "\n    pass\n", "\n        pass\n"):
        try:
            tree = ast.parse(prompt.rstrip() + end)
            break
        except (SyntaxError, ValueError, RecursionError):
            continue
    if tree is None:
        raise DataError("prompt is not Python; where it is a question in words, leave prompt empty")
    return ast.unparse(ast.Module([s for s in tree.body if not _asked_for(s, entry_point)], []))


def _asked_for(s: ast.stmt, entry_point: str) -> bool:
    if isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant):
        return True  # a docstring
    if isinstance(s, ast.ClassDef):
        return s.name == entry_point
    if not isinstance(s, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    empty = all(isinstance(x, ast.Pass) or (isinstance(x, ast.Expr) and isinstance(x.value, ast.Constant)) for x in s.body)
    return empty or s.name == entry_point
