"""Four verifiers on outputs as a model might give them: right, half right, and dishonest.

Run: python examples/verifiers.py
"""

from guerdon.rewards import SQL, InputOutput, ToolCalls, UnitTests, recorded
from guerdon.rewards.sandbox import level_named

CALL = '<tool_call>{"name": "weather", "arguments": {"city": "%s"}}</tool_call>'
TASKS = {
    "unit tests": (
        UnitTests(),
        {
            "right": "```python\ndef double(x):\n    return 2 * x\n```",
            "half right": "def double(x):\n    return x * x",
            "exits": "import os\nos._exit(0)",
            "lies": "class Yes(int):\n    def __eq__(self, other):\n        return True\n\ndef double(x):\n    return Yes(0)",
        },
        {"test": ["assert double(2) == 4", "assert double(3) == 6"]},
    ),
    "input and output": (
        InputOutput(),
        {"right": "print(sum(map(int, input().split())))", "hangs": "while True:\n    pass", "half right": "print(3)"},
        {"inputs": ["1 2\n", "2 2\n"], "outputs": ["3\n", "4\n"]},
    ),
    "SQL": (
        SQL(),
        {"right": "SELECT max(a) FROM t", "deletes": "DELETE FROM t", "wrong": "SELECT a FROM t"},
        {"query": "SELECT a FROM t ORDER BY a DESC LIMIT 1", "database": "CREATE TABLE t (a); INSERT INTO t VALUES (1), (2)"},
    ),
    "tool calls": (
        ToolCalls(partial=True),
        {"right": CALL % "Oslo", "wrong city": CALL % "Bergen", "chat": "It is sunny."},
        {"calls": [{"name": "weather", "parameters": {"city": "Oslo"}}]},
    ),
}


def main():
    level = level_named(None)
    gaps = f"cannot stop: {', '.join(level.open_to)}" if level.open_to else "stops all ten kinds of attack"
    print(f"sandbox: {level.name}, {gaps}\n")
    for name, (verifier, outputs, task) in TASKS.items():
        columns = {column: [value] * len(outputs) for column, value in task.items()}
        verdicts = verifier.verdicts(recorded([name] * len(outputs), list(outputs.values()), columns))
        for what, verdict in zip(outputs, verdicts, strict=True):
            print(f"{name:>16}  {what:<11} {verdict.total:5.2f}  {verdict.reason or verdict.note}".rstrip())


if __name__ == "__main__":
    main()
