"""Numbers in labels: which labels form a series, what its values should be, which are not there.

``ns/pythia@step3000`` and ``ns/pythia@step4000`` have the same text around one number: a series. With several numbers
(``seed_1/step_20k``, ``layer_3/width_16k/average_l0_91``) one is the series, the others are what it is repeated for,
or facts that follow from it. Pure.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from statistics import median

from release_kit.core.errors import UsageError

_NUMBER = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)(?:([kKmMbBtT])(?![A-Za-z0-9]))?")
_UNITS = {"k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}
_SERIES_WORDS = ("step", "checkpoint", "ckpt", "iter", "iteration", "epoch", "layer", "tokens")
"""Words before a number that make it the one to count by, the first first."""

_MOST_HOLES = 10
"""A grid of more than ten times as many values as there are labels is a coincidence."""

_FEWEST = 4
"""Fewer labels are no series."""

_HOLE = "\x00"
"""Stands for a number in a skeleton; no path on a Hub can hold it."""


@dataclass(frozen=True, kw_only=True)
class Label:
    """An address taken apart."""

    address: str
    skeleton: str
    """The text with a NUL for each number."""
    values: tuple[float, ...]
    texts: tuple[str, ...]
    """Each number as it is written: ``20k``, ``000100``."""
    roundings: tuple[float, ...]
    """What each number may be off by as it is written: its last unit."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """Labels that differ in one number (and perhaps in others that follow from it)."""

    name: str
    """The skeleton with ``{n}`` at the number."""
    word: str
    members: Mapping[float, str]
    """Value → address, ascending."""
    attributes: Mapping[str, tuple[tuple[float, float], ...]]
    """Address → the other numbers that vary with the value, each with its rounding."""
    width: int = 0
    """Digits that the number is padded to with zeros."""
    unit: str = ""
    """What follows the number where it is written in thousands or more: ``k``, ``M``, ``B``."""


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What the values of a series should be, and how that is known."""

    values: tuple[float, ...]
    text: str


@lru_cache(maxsize=1 << 17)
def parse_label(address: str) -> Label:
    """Take the numbers out of an address."""
    hits = list(_NUMBER.finditer(address))
    scales = [_UNITS.get((hit[2] or "").lower(), 1) for hit in hits]
    decimals = [len(hit[1].partition(".")[2]) for hit in hits]
    values = [float(hit[1]) * scale for hit, scale in zip(hits, scales, strict=True)]
    pairs = zip(scales, decimals, strict=True)
    return Label(
        address=address,
        skeleton=_NUMBER.sub(_HOLE, address),
        values=tuple(int(value) if value.is_integer() else value for value in values),
        texts=tuple(hit[0] for hit in hits),
        roundings=tuple(scale / 10**n if scale > 1 or n else 0 for scale, n in pairs),
    )


def find_series(addresses: Iterable[str]) -> list[Series]:
    """Return the series among the addresses, sorted by name; at least four labels each."""
    groups: dict[str, list[Label]] = {}
    for address in sorted(set(addresses)):
        label = parse_label(address)
        groups.setdefault(label.skeleton, []).append(label)
    return [series for _, labels in sorted(groups.items()) for series in _series_of(labels)]


def series_words(skeleton: str) -> list[str]:
    """Return the word before each number of a skeleton (``step``, ``average_l``), lower-case."""
    parts = skeleton.split(_HOLE)[:-1]
    return [re.sub(r".*[^a-z]", "", part.lower().rstrip("-_=/. ")) for part in parts]


def _series_of(labels: list[Label]) -> list[Series]:
    columns = range(len(labels[0].values))
    varying = [i for i in columns if len({label.values[i] for label in labels}) > 1]
    if not varying or len(labels) < _FEWEST:
        return []
    words = series_words(labels[0].skeleton)
    position = _series_position(varying, words)
    keys = _key_positions([i for i in varying if i != position], labels)
    blocks: dict[tuple, list[Label]] = {}
    for label in labels:
        blocks.setdefault(tuple(label.values[i] for i in keys), []).append(label)
    attributes = [i for i in varying if i != position and i not in keys]
    found = (_one_series(block, position, words[position], attributes) for block in blocks.values())
    return sorted((one for one in found if len(one.members) >= _FEWEST), key=lambda one: one.name)


def _series_position(varying: Sequence[int], words: Sequence[str]) -> int:
    for word in _SERIES_WORDS:
        for i in varying:
            if words[i].endswith(word) or words[i].endswith(f"{word}s"):
                return i
    return varying[-1]


def counts_training(word: str) -> bool:
    """Return whether the word before a number says that it counts something: a step, an epoch, a layer."""
    return any(word.endswith((known, f"{known}s")) for known in _SERIES_WORDS)


def _key_positions(others: list[int], labels: list[Label]) -> list[int]:
    """Return the numbers that a series is repeated for; one that differs in nearly every label is a mere fact."""
    keys = list(others)
    while keys:
        sizes = Counter(tuple(label.values[i] for i in keys) for label in labels)
        if median(sizes.values()) >= _FEWEST - 1:
            break
        keys.remove(max(keys, key=lambda i: len({label.values[i] for label in labels})))
    return keys


def _one_series(block: list[Label], position: int, word: str, attributes: Sequence[int]) -> Series:
    ordered = sorted(block, key=lambda label: (label.values[position], label.address))
    members: dict[float, str] = {}
    for label in ordered:
        members.setdefault(label.values[position], label.address)
    first = block[0]
    holes = ["{n}" if i == position else "*" if i in attributes else text for i, text in enumerate(first.texts)]
    parts = first.skeleton.split(_HOLE)
    texts = [label.texts[position] for label in block]
    padded = len({len(text) for text in texts}) == 1 and any(text.startswith("0") and text != "0" for text in texts)
    units = {re.sub(r"[\d.]", "", text) for text in texts}
    return Series(
        name="".join(part + hole for part, hole in zip(parts, [*holes, ""], strict=True)),
        word=word,
        members=members,
        attributes={
            label.address: tuple((label.values[i], label.roundings[i]) for i in attributes) for label in ordered
        },
        width=len(texts[0]) if padded else 0,
        unit=units.pop() if len(units) == 1 else "",
    )


def infer_values(values: Sequence[float]) -> Expectation | None:
    """Return what a series should hold, judged by itself: evenly spaced values, perhaps after doubling ones.

    At least 60 % of the steps between neighbours must be the same, every value after the first of them must lie on
    that grid, and the grid may not be mostly holes (``run1`` … ``run9``, ``run20240131``); otherwise nothing is
    claimed.
    """
    ordered = sorted(set(values))
    if len(ordered) < _FEWEST:
        return None
    gaps = [b - a for a, b in pairwise(ordered)]
    spacing, _ = max(Counter(gaps).items(), key=lambda pair: (pair[1], -pair[0]))
    head_length = _head_length(ordered, spacing)
    tail = ordered[head_length:]
    tail_gaps = [b - a for a, b in pairwise(tail)]
    regular = sum(1 for gap in tail_gaps if gap == spacing)
    off_grid = any((v - tail[0]) % spacing for v in tail)
    if len(tail) < _FEWEST or regular < 0.6 * len(tail_gaps) or off_grid or _is_mostly_holes(tail, spacing):
        return _doubling(ordered)
    grid = _grid(tail[0], tail[-1], spacing)
    head = _doubling(ordered[:head_length]) if head_length >= _FEWEST else None
    listed = head.values if head else tuple(ordered[:head_length])
    text = f"{_plain(grid[0])} … {_plain(grid[-1])} by {_plain(spacing)}"
    if head:
        text = f"{head.text}, then {text}"
    return Expectation(values=(*listed, *grid), text=text)


def _is_mostly_holes(values: Sequence[float], spacing: float) -> bool:
    return (values[-1] - values[0]) / spacing > _MOST_HOLES * len(values)


def _head_length(ordered: Sequence[float], spacing: float) -> int:
    """Return how many of the first values lie off the grid that the last value is on."""
    for index, value in enumerate(ordered):
        if (ordered[-1] - value) % spacing == 0 and all((ordered[-1] - v) % spacing == 0 for v in ordered[index:]):
            # 0 before 1, 2, 4 … lies on every grid: it belongs to the head when off-grid values follow.
            return index
    return len(ordered)


def _doubling(values: Sequence[float]) -> Expectation | None:
    positive = [v for v in values if v > 0]
    if len(positive) < 3:
        return None
    ratios = Counter(b / a for a, b in pairwise(positive))
    ratio, n = ratios.most_common(1)[0]
    if ratio <= 1 or n < 0.6 * (len(positive) - 1) or not float(ratio).is_integer():
        return None
    grid = [positive[0]]
    while grid[-1] < positive[-1]:
        grid.append(grid[-1] * int(ratio))
    if not set(positive) <= set(grid):
        return None
    zero = (0,) if 0 in values else ()
    text = ", ".join(_plain(v) for v in (*zero, *grid[:2])) + f" … {_plain(grid[-1])} times {int(ratio)}"
    return Expectation(values=(*zero, *grid), text=text)


def _grid(first: float, last: float, spacing: float) -> list[float]:
    return [first + i * spacing for i in range(round((last - first) / spacing) + 1)]


def parse_expected(text: str) -> tuple[float, ...]:
    """Parse ``0,1,2,4,1000:143000:1000``: values, and ranges ``first:last:step`` that hold both ends.

    Raises:
        UsageError: not of this form, or more than a million values.
    """
    values: list[float] = []
    for part in text.split(","):
        numbers = [n.strip() for n in part.split(":")]
        if len(numbers) not in (1, 2, 3) or not all(re.fullmatch(r"\d+", n) for n in numbers):
            raise UsageError(f"{part!r} is not a value or a range", where="--expect", next_step="write 0:143000:1000")
        first, last, step = int(numbers[0]), int(numbers[1] if len(numbers) > 1 else numbers[0]), 1
        if len(numbers) == 3:
            step = int(numbers[2])
        if step < 1 or last < first or (last - first) // step + len(values) > 1_000_000:
            raise UsageError(f"{part!r} is not a range of at most a million values", where="--expect")
        values += range(first, last + 1, step)
    return tuple(sorted(set(values)))


def match_series(pattern: str, addresses: Iterable[str]) -> list[Series]:
    """Return the declared series ``step{n}`` among the addresses, one for each repo and place that has it.

    Args:
        pattern: ``{n}`` stands for the number, ``*`` for anything; the rest is taken as written. It is looked for
            as a whole branch, folder or repo name.

    Raises:
        UsageError: ``pattern`` does not hold ``{n}`` exactly once.
    """
    if pattern.count("{n}") != 1:
        raise UsageError(f"{pattern!r} needs {{n}} exactly once", where="--series", next_step="write step{n}")
    inner = re.escape(pattern).replace(r"\{n\}", r"(?P<n>\d+)").replace(r"\*", ".*?")
    whole = re.compile(rf"(?:^|(?<=[/@:]))(?:{inner})(?=$|[/@:])")
    found: dict[str, dict[float, str]] = {}
    for address in sorted(set(addresses)):
        for hit in whole.finditer(address):
            name = f"{address[: hit.start('n')]}{{n}}{address[hit.end('n') :]}"
            found.setdefault(name, {})[int(hit["n"])] = address
    word = series_words(pattern.replace("{n}", _HOLE))[0]
    return [
        Series(name=name, word=word, members=dict(sorted(members.items())), attributes={})
        for name, members in sorted(found.items())
    ]


def label_text(series: Series, value: float) -> str:
    """Return the address that a missing value of a series would have, ``*`` where it cannot be known."""
    text = f"{_plain(value / _UNITS.get(series.unit.lower(), 1))}{series.unit}"
    return series.name.replace("{n}", text.zfill(series.width))


def _plain(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else f"{value:g}"
