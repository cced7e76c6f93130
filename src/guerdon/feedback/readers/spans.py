"""Labels of parts of an output: spans, steps, and the answers of FineGrainedRLHF (Wu et al., arXiv:2306.01693)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from guerdon.core.feedback import Comparison, Correction, Feedback, SpanLabel
from guerdon.feedback.messages import kind
from guerdon.feedback.readers.cells import OUTPUTS, Cells, is_missing, number_of, plain, plain_text, shown
from guerdon.feedback.readers.shapes import Format
from guerdon.feedback.readers.single import truth

_LABELS = ("label", "type", "error type", "error_type", "category")
_TEXTS = ("text", "explanation", "comment")
_LISTS = ("spans", "errors", "annotations")
_PREDICTIONS = tuple(f"prediction {k}" for k in (1, 2, 3, 4))
_CODES = {0: 0.5, 1: 1.0, 2: 0.0}


def span_of(span: Any, output: str, where: str, common: Mapping[str, Any]) -> SpanLabel:
    """One span of a list of them.

    Raises:
        ValueError: naming the span and what it lacks.
    """
    if not isinstance(span, Mapping):
        raise ValueError(f"{where} is {kind(span)}, expected an object with start, end and label")
    cells = Cells({str(k): v for k, v in span.items()})
    start, end = (_place(cells, name, where) for name in ("start", "end"))
    if not 0 <= start < end <= len(output):
        raise ValueError(f"{where} goes from {start} to {end}, and the output has {len(output)} characters")
    try:
        label = plain_text(cells.take(*_LABELS), "label")
        text = cells.maybe(*_TEXTS)
        said = "" if text is None else plain_text(text, "text")
        value = cells.maybe("value")
        number = -1.0 if value is None else number_of(value, "value")
    except ValueError as e:
        raise ValueError(f"{where}: {e}") from None
    info = {**common["info"], **{n: plain(v, n) for n, v in cells.row.items() if n not in cells.taken}}
    known = {**common, "info": info}
    return SpanLabel(output=output, start=start, end=end, label=label, value=number, text=said, **known)


def _place(cells: Cells, name: str, where: str) -> int:
    if name not in cells.row:
        raise ValueError(f"{where} has no {name!r}")
    found = number_of(cells.take(name), f"{where}: {name}")
    if found != int(found):
        raise ValueError(f"{where}: {name} is {found}, expected a place in the text")
    return int(found)


def _read_spans(cells: Cells) -> Iterator[SpanLabel]:
    """A record per span; a row without spans has none."""
    name = cells.find(_LISTS) or "spans"
    spans = cells.listed(*_LISTS)
    output = plain_text(cells.take(*OUTPUTS), "output")
    common = {"context": cells.context(), **cells.common()}
    for k, span in enumerate(spans, 1):
        yield span_of(span, output, f"{name!r} {k}", common)


def _read_steps(cells: Cells) -> Iterator[SpanLabel]:
    """TRL's stepwise supervision: a label of each step, on the steps joined by line ends."""
    context = cells.context()
    steps = [plain_text(s, f"completions {k}") for k, s in enumerate(cells.listed("completions"), 1)]
    labels = cells.listed("labels")
    if len(labels) != len(steps):
        raise ValueError(f"'labels' has {len(labels)} for {len(steps)} 'completions', expected one for each")
    for k, step in enumerate(steps, 1):
        if not step:
            raise ValueError(f"'completions' {k} is empty")
    values = [_goodness(label, f"labels {k}") for k, label in enumerate(labels, 1)]
    output, start = "\n".join(steps), 0
    common = cells.common()
    for k, (step, value) in enumerate(zip(steps, values, strict=True), 1):
        label = "correct" if value > 0 else "incorrect" if value < 0 else "neutral"
        known = {**common, "info": {**common["info"], "step": k}}
        yield SpanLabel(context=context, output=output, start=start, end=start + len(step), label=label, value=value, **known)
        start += len(step) + 1


def _goodness(value: Any, name: str) -> float:
    """1 for true, -1 for false, 2 p - 1 for a probability p."""
    if isinstance(value, float) and 0 < value < 1:
        return 2 * value - 1
    try:
        return 1.0 if truth(value, name) else -1.0
    except ValueError:
        raise ValueError(f"{name!r} is {shown(value)}, expected true, false or a probability") from None


def _read_fine_grained(cells: Cells) -> Iterator[Feedback]:
    """Errors of the first prediction, its correction where it was mended, and six comparisons of four predictions."""
    question = plain_text(cells.take("question"), "question")
    texts = [plain_text(cells.take(n), n) for n in _PREDICTIONS]
    feedback = cells.take("feedback")
    if not isinstance(feedback, Mapping):
        raise ValueError(f"'feedback' is {kind(feedback)}, expected an object with 'errors' and 'corrected-prediction'")
    codes = cells.listed("preference")
    errors = feedback.get("errors")
    if not isinstance(errors, list | tuple):
        raise ValueError(f"'errors' is {kind(errors)}, expected a list")
    common = {"context": question, **cells.common()}
    rest = {str(k): plain(v, str(k)) for k, v in feedback.items() if k not in ("errors", "corrected-prediction")}
    common["info"] = {**common["info"], **rest}
    for k, span in enumerate(errors, 1):
        yield span_of(span, texts[0], f"'errors' {k}", common)
    mended = feedback.get("corrected-prediction")
    if not is_missing(mended) and (corrected := plain_text(mended, "corrected-prediction")) != texts[0]:
        yield Correction(output=texts[0], corrected=corrected, **common)
    pairs = [(i, j) for i in range(4) for j in range(i + 1, 4)]
    if len(codes) != len(pairs):
        raise ValueError(f"'preference' has {len(codes)} codes, expected 6: of predictions 1-2, 1-3, 1-4, 2-3, 2-4, 3-4")
    for (i, j), code in zip(pairs, codes, strict=True):
        number = None if isinstance(code, bool | str | None) else number_of(code, "preference")
        if isinstance(code, str) and code.strip() in ("0", "1", "2"):
            number = float(code)
        if number not in _CODES:
            raise ValueError(f"'preference' has {shown(code)}, expected 0 (tie), 1 (the first) or 2 (the second)")
        known = {**common, "info": {**common["info"], "predictions": [i + 1, j + 1]}}
        yield Comparison(first=texts[i], second=texts[j], label=_CODES[int(number)], **known)


_PREDICTED = dict(zip(_PREDICTIONS, ("4, or 5", "4", "5", "6"), strict=True))
FINE_GRAINED = Format(
    "fine-grained-rlhf",
    "errors of a first prediction, its correction, six comparisons of four predictions: 0 tie, 1 first, 2 second",
    {
        "question": "2 + 2?",
        **_PREDICTED,
        "feedback": {
            "errors": [{"error type": "Irrelevant", "explanation": "", "start": 1, "end": 7}],
            "missing-info": [],
            "corrected-prediction": "4",
        },
        "preference": [2, 1, 1, 1, 1, 0],
    },
    ((("prediction 1",), ("feedback",), ("preference",)),),
    _read_fine_grained,
)
SPANS = Format(
    "spans",
    "an output and a list of spans with start, end and label",
    {"prompt": "2 + 2?", "output": "4, or 5", "spans": [{"start": 1, "end": 7, "label": "irrelevant"}]},
    ((OUTPUTS, _LISTS),),
    _read_spans,
)
STEPWISE = Format(
    "stepwise",
    "a solution's steps and whether each is right (TRL's stepwise supervision)",
    {"prompt": "2 + 2 * 2?", "completions": ["2 * 2 = 4", "2 + 4 = 7"], "labels": [True, False]},
    ((("completions",), ("labels",)),),
    _read_steps,
)
