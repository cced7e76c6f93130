"""Imports go one way: systems and the command line use the roles, the roles use core, core uses none of them."""

import ast
from collections.abc import Iterator
from pathlib import Path

import guerdon

SOURCE = Path(guerdon.__file__).parent
FREE = {"systems", "cli", "testing"}  # may use every room
ALSO = {  # what a room may use besides core
    "run": {"rewards", "audit", "feedback"},  # plain functions become rewards; sources read files; a run ends with its report
    # warm starts, simulated annotators, ready-made plans
    "tasks": {"advantages", "audit", "feedback", "objectives", "policies", "rewards", "run", "samplers", "transforms", "worlds"},
}


def imported_rooms(path: Path) -> Iterator[tuple[int, str]]:
    """(line, room) of each import of a guerdon room, wherever in the file it stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            top, _, rest = name.partition(".")
            room = rest.split(".")[0]
            if top == "guerdon" and (SOURCE / room / "__init__.py").exists():
                yield node.lineno, room


def test_imports_go_one_way() -> None:
    wrong = []
    for path in sorted(SOURCE.glob("*/**/*.py")):
        room = path.relative_to(SOURCE).parts[0]
        if room in FREE:
            continue
        allowed = {room, *({"core"} if room != "core" else ()), *ALSO.get(room, ())}
        wrong += [
            f"{path.relative_to(SOURCE)}:{line} imports {used}; {room} may use {sorted(allowed - {room}) or 'no other room'}"
            for line, used in imported_rooms(path)
            if used not in allowed
        ]
    assert not wrong, "\n".join(wrong)
