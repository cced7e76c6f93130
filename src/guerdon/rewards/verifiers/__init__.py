"""Verifiers: rewards that check an output against its task: unit tests, testbenches, queries, calls, constraints."""

from guerdon.rewards.verifiers.input_output import InputOutput
from guerdon.rewards.verifiers.instructions import Instructions
from guerdon.rewards.verifiers.maths import Maths
from guerdon.rewards.verifiers.molecules import Molecules
from guerdon.rewards.verifiers.sql import SQL
from guerdon.rewards.verifiers.tool_calls import ToolCalls
from guerdon.rewards.verifiers.unit_tests import UnitTests
from guerdon.rewards.verifiers.verifier import Checked, Verifier
from guerdon.rewards.verifiers.verilog import Verilog

__all__ = [
    "SQL", "Checked", "InputOutput", "Instructions", "Maths", "Molecules", "ToolCalls", "UnitTests", "Verifier", "Verilog",
]  # fmt: skip
