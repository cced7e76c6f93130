import time

import pytest

from guerdon.rewards.verifiers.code_blocks import blocks, extract, in_front

CHAT = """Sure! Here is a solution.

```python
def add(a, b):
    return a + b
```

You can use it like this:

```python
print(add(1, 2))
```

which prints

```
3
```
"""


def test_the_last_block_of_the_language_or_the_last_that_defines_the_function():
    assert extract(CHAT) == "print(add(1, 2))\n"
    assert extract(CHAT, defines="add") == "def add(a, b):\n    return a + b\n"
    assert extract(CHAT, defines="sub") == "print(add(1, 2))\n"  # no block defines it: as without


def test_a_name_is_defined_only_by_its_definition():
    text = "```python\nclass Solution:\n    def run(self): ...\n```\n```python\ndef runner(): ...\nrun = 1\n```"
    assert extract(text, defines="Solution").startswith("class Solution")
    assert extract(text, defines="run").startswith("class Solution")


@pytest.mark.parametrize("label", ["python", "Python", "py", "python3", "{.python}", "python title=a.py"])
def test_labels(label):
    assert extract(f"```{label}\nx = 1\n```\n```\noutput\n```") == "x = 1\n"


def test_a_text_without_a_block_is_the_program_itself_to_the_last_space():
    assert extract("    return x  \n\n") == "    return x  \n\n"
    assert extract("") == ""
    assert extract("a `x` and ```y``` in a line") == "a `x` and ```y``` in a line"


def test_blocks_without_a_label_and_of_other_languages():
    assert extract("Run\n```bash\npip install x\n```\nthen\n```\nimport x\n```") == "import x\n"
    assert extract("```text\nprint(1)\n```") == "print(1)\n"  # the only block
    both = "```json\n{}\n```\n```text\n1\n```"
    assert extract(both) == both


def test_a_block_that_the_end_of_the_text_cut_off():
    assert extract("Output:\n```\n1 2\n```\nCode:\n```python\nfor x in y:\n    print(x") == "for x in y:\n    print(x\n"
    assert extract("```python\na = 1\n```\nBetter:\n```python\na = ") == "a = 1\n"  # a closed one goes first
    assert extract("```\na = 1\n") == "a = 1\n"
    assert extract("```python\nreturn x```") == "return x\n"


def test_a_lone_fence_at_the_end_closes_what_the_prompt_opened():
    assert extract("    return x\n```") == "    return x\n"
    assert extract("    return x\n```\n\n") == "    return x\n"
    assert extract("```python\na = 1\n```\n```") == "a = 1\n"


def test_fences_in_lists_and_longer_fences():
    assert extract("1. Do\n\n   ```python\n   if x:\n       y\n   ```\n") == "if x:\n    y\n"
    assert extract("````python\ns = '''\n```\n'''\n````") == "s = '''\n```\n'''\n"
    assert extract("~~~python\ns = '```'\n~~~") == "s = '```'\n"
    assert [b.label for b in blocks("```python\r\nx = 1\r\n```\r\n")] == ["python"]
    assert extract("```python\r\nx = 1\r\n```\r\n") == "x = 1\n"


def test_other_languages():
    text = "```systemverilog\nmodule m; endmodule\n```\n```sql\nselect 1\n```"
    assert extract(text, "verilog") == "module m; endmodule\n"
    assert extract(text, "sql") == "select 1\n"


@pytest.mark.parametrize(
    "text",
    [
        "`" * 1_000_000,
        " " * 1_000_000 + "```",
        "```" + " " * 1_000_000,
        "```\n" * 300_000,
        "```python\n" + "    def f\n" * 100_000,
        "```python\n```\n" * 100_000,
        "def " * 250_000,
        "from __future__ import " * 50_000,
    ],
)
def test_hostile_text_takes_linear_time(text):
    start = time.process_time()
    extract(text, defines="f")
    in_front("import math", text)
    assert time.process_time() - start < 5  # quadratic time would take minutes


def test_code_in_front_leaves_future_imports_first():
    program = '"""Doc."""\nfrom __future__ import annotations, division\nx: List = []\n'
    made = in_front("from typing import List\n", program)
    compile(made, "made", "exec")
    assert made.startswith("from __future__ import annotations, division\nfrom typing import List\n")
    assert in_front("", program) is program
