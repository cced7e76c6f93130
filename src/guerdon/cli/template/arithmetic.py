"""The reward: a function that says how good an answer is. Its parameters are filled by name from the columns of prompts.jsonl."""


def reward(output: str, answer: str) -> dict[str, float]:
    """A number, or named parts that are added up and logged one by one. An exception fails this answer, not the run."""
    return {"correct": float(output == answer), "short": -0.01 * len(output)}
