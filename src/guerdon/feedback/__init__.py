"""What people, programs and models say: the nine records, files of them, a store, simulated annotators, agreement."""

from guerdon.core.feedback import (
    Comparison,
    Correction,
    Critique,
    Demonstration,
    Feedback,
    ImplicitFeedback,
    Ranking,
    Rating,
    RubricLabel,
    SpanLabel,
    comparisons,
    from_record,
    split,
)

__all__ = [
    "Comparison",
    "Correction",
    "Critique",
    "Demonstration",
    "Feedback",
    "ImplicitFeedback",
    "Ranking",
    "Rating",
    "RubricLabel",
    "SpanLabel",
    "comparisons",
    "from_record",
    "split",
]
