"""The sampling loop: prompts are read once per group, rows step together, and rows that ended leave."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from guerdon.core import Stream, pad
from guerdon.policies._draw import Drawn, Ways, draw
from guerdon.policies._network import Network

_NUMBERS = 32  # steps for which random numbers are made at once
_LEAVE = 8  # rows that ended leave when they are at least one in so many

Stopped = Callable[[Tensor], Tensor]  # tokens [n, t] said so far -> [n] bool


@dataclass(frozen=True)
class Answers:
    """What R rows said: ``tokens`` and ``logp`` [R, S] up to each row's ``length``; ``ended`` by themselves or cut off.

    After a cut, ``kept`` [R, S, K] ids + 1 (0: none) and ``log_kept`` [R, S].
    """

    tokens: Tensor
    logp: Tensor
    length: Tensor
    ended: Tensor
    kept: Tensor | None
    log_kept: Tensor | None


def _gathered(rows: int, steps: list[tuple[Tensor, Drawn]]) -> dict[str, Tensor | None]:
    """[R, S, ...] tables of what was drawn step by step, each time for the rows that were still there."""
    out: dict[str, Tensor | None] = dict.fromkeys(("token", "logp", "kept", "log_kept"))
    for name in out:
        columns = [(row, getattr(drawn, name)) for row, drawn in steps]
        if columns[0][1] is None:
            continue
        if name == "kept":
            columns = [(row, (ids + 1).int()) for row, ids in columns]
        shape = [max(x.shape[d] for _, x in columns) for d in range(1, columns[0][1].dim())]
        table = columns[0][1].new_zeros(rows, len(steps), *shape)
        for t, (row, x) in enumerate(columns):
            table[(row, t, *(slice(0, size) for size in x.shape[1:]))] = x
        out[name] = table.cpu()
    return out


def generate(
    network: Network, prompts: Sequence[Sequence[int]], n: int, stream: Stream, room: Sequence[int], ways: Ways, ends: Tensor,
    stopped: Stopped | None,
) -> Answers:  # fmt: skip
    """``n`` answers to every prompt, of at most ``room`` tokens each.

    Args:
        network: The model.
        prompts: [G] token ids.
        n: Answers per prompt; row k*n + j is answer j to prompt k.
        stream: Of the G*n rows; the token number t of a row takes the stream's number t.
        room: [G] most tokens of an answer.
        ways: How tokens are drawn.
        ends: [V] bool, ids that end an answer.
        stopped: Which rows end for what they said so far.
    """
    device = network.model.device
    place = torch.device("cpu") if device.type == "mps" else device  # tokens are drawn in float64, which mps lacks
    ids, real = pad([torch.tensor(p) for p in prompts], value=network.filler)
    lengths = real.sum(1)
    group = torch.arange(len(prompts)).repeat_interleave(n)
    cache, states = network.start(ids.to(device), lengths.to(device))
    if n > 1:
        cache.reorder_cache(group.to(device))
        states = states[group.to(device)]
    start, most, steps = lengths[group].to(place), torch.tensor(room)[group].to(place), max(room)
    blank = ids.shape[1] - start  # slots before each row's prompt that nobody may read
    seen = None
    if bool((blank > 0).any()):
        seen = torch.arange(ids.shape[1] + steps, device=device) >= blank[:, None].to(device)

    rows = torch.arange(len(group), device=place)  # those still there,
    live = torch.ones_like(rows, dtype=torch.bool)  # and whether they go on
    length, ended = torch.zeros_like(rows), torch.zeros_like(live)
    numbers = torch.zeros(len(rows), _NUMBERS, device=place)
    told = torch.zeros(len(rows), 0, dtype=torch.long, device=place)  # by those still there; only for ``stopped``
    ends, shortest, said = ends.to(place), min(room), []
    for t in range(steps):
        if t % _NUMBERS == 0 and not ways.greedy:
            numbers = Stream(stream.key[rows.cpu()]).uniform(_NUMBERS, t).to(place)
        drawn = draw(network.logits(states, ways.temperature or 1.0).to(place), numbers[:, t % _NUMBERS], ways)
        said.append((rows, drawn))
        over = ends[drawn.token]
        if stopped is not None:
            told = torch.cat([told, drawn.token[:, None]], 1)
            over = over | stopped(told)
        last = over if t + 1 < shortest else over | (most[rows] <= t + 1)
        token = drawn.token
        if bool((last & live).any()):
            ended[rows[over & live]] = True
            length[rows[last & live]] = t + 1
            live = live & ~last
            there = int(live.sum())
            if there == 0:
                break
            if (len(rows) - there) * _LEAVE >= len(rows):
                stay = live.nonzero()[:, 0]
                rows, live, token, numbers, told = rows[stay], live[stay], token[stay], numbers[stay], told[stay]
                seen = None if seen is None else seen[stay.to(device)]
                cache.reorder_cache(stay.to(device))
        position = start[rows] + t
        if network.limit is not None:  # rows that wait to leave
            position = position.clamp(max=network.limit - 1)
        mask = None if seen is None else seen[:, : ids.shape[1] + t + 1]
        states = network.step(token.to(device), position.to(device), cache, mask)
    tables = _gathered(len(group), said)
    return Answers(tables["token"], tables["logp"], length.cpu(), ended.cpu(), tables["kept"], tables["log_kept"])  # type: ignore[arg-type]


def chunks(lengths: Sequence[int], n: int, rows: int | None, ragged: bool) -> Iterator[list[int]]:
    """Groups to be sampled together: at most ``rows`` rows, of similar length; of equal length unless ``ragged``.

    >>> list(chunks([5, 2, 5, 3], 2, 4, ragged=True)), list(chunks([5, 2, 5], 2, None, ragged=False))
    ([[1, 3], [0, 2]], [[1], [0, 2]])
    """
    part: list[int] = []
    for k in sorted(range(len(lengths)), key=lambda k: lengths[k]) if rows or not ragged else range(len(lengths)):
        full = rows is not None and (len(part) + 1) * n > rows
        if part and (full or (not ragged and lengths[k] != lengths[part[0]])):
            yield part
            part = []
        part.append(k)
    if part:
        yield part
