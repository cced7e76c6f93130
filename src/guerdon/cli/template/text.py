"""The reward: a function that says how good an answer is. Its parameters are filled by name from the columns of prompts.jsonl."""

import re


def reward(output: str, prompt: str) -> dict[str, float]:
    """A number, or named parts that are added up and logged one by one. An exception fails this answer, not the run."""
    words = re.findall(r"\w+", output.lower())
    different = len(set(words)) / max(1, len(words))
    return {"exclaims": float("!" in output), "different_words": different, "says_something": min(1.0, len(words) / 8)}
