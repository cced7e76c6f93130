"""The harness is a program of its own (``test_attacks.py`` starts it), not a module of tests."""

collect_ignore = ["as_user.py", "cases.py", "effects.py", "harness.py"]
