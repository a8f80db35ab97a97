"""What is not there: labels missing from a series or a grid, places without weights, weights of another size."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from release_kit.release.audit.finding import Finding, some
from release_kit.release.audit.numbers import (
    Expectation,
    Series,
    counts_training,
    infer_values,
    label_text,
    parse_label,
)
from release_kit.release.audit.payloads import label_order
from release_kit.release.audit.units import Listing, Unit, places_of

DECLARED = "declared"

_ENOUGH = 4
"""Siblings that make a rule."""


def check_series(series: Sequence[Series], declared: tuple[float, ...] | None) -> list[Finding]:
    """Return the labels missing from each series, against what was declared or what the series itself shows."""
    missing: dict[str, tuple[Series, Expectation, list[float]]] = {}
    for one in series:
        expected = _expected(one, declared)
        absent = [value for value in expected.values if value not in one.members] if expected else []
        if absent:
            missing[one.name] = (one, expected, absent)
    missing |= {name: item for name, item in _grid_holes(series).items() if name not in missing}
    whole = {label_text(one, value) for one, _, absent in missing.values() for value in absent}
    findings = []
    for one, expected, absent in missing.values():
        own = [
            value for value in absent if label_text(one, value).partition(":")[0] not in whole or ":" not in one.name
        ]
        if own:
            findings.append(_missing(one, expected, own))
    return findings


def _expected(one: Series, declared: tuple[float, ...] | None) -> Expectation | None:
    if declared is not None:
        return Expectation(values=declared, text=DECLARED)
    return infer_values(list(one.members))


def _grid_holes(series: Sequence[Series]) -> dict[str, tuple[Series, Expectation, list[float]]]:
    """Find values that most of the sibling series have (``width_16k`` has layer 3, ``width_65k`` has not)."""
    families: dict[str, list[Series]] = defaultdict(list)
    for one in series:
        families[parse_label(one.name).skeleton].append(one)
    holes = {}
    for siblings in families.values():
        counts = Counter(value for one in siblings for value in one.members)
        usual = sorted(value for value, n in counts.items() if 2 * n > len(siblings))
        text = f"as in most of {len(siblings)} sibling series"
        for one in siblings:
            absent = [value for value in usual if value not in one.members]
            if len(siblings) > 2 and absent:
                holes[one.name] = (one, Expectation(values=tuple(usual), text=text), absent)
    return holes


def _missing(one: Series, expected: Expectation, absent: list[float]) -> Finding:
    names = [label_text(one, value) for value in absent]
    shown = [f"{value:g}" if value < 10**6 else str(value) for value in absent]
    what = (
        f"{len(absent)} of {len(expected.values)} labels of {one.name} are missing ({expected.text}): {some(shown, 12)}"
    )
    return Finding(
        code="missing-label",
        severity="error" if expected.text == DECLARED or counts_training(one.word) else "warning",
        where=one.name.partition("@")[0] if "@" in one.name else one.name,
        what=what,
        next_step="publish them, or say in the card that they do not exist",
        members=tuple(names),
        counts={"n_missing": len(absent), "n_expected": len(expected.values)},
    )


def check_siblings(listings: Sequence[Listing], units: Sequence[Unit]) -> list[Finding]:
    """Return places without weights where all siblings have some, and weights of an odd size."""
    return [*_without_weights(listings, units), *_odd_sizes(units)]


def _without_weights(listings: Sequence[Listing], units: Sequence[Unit]) -> Iterable[Finding]:
    holding = {unit.address for unit in units}
    families: dict[str, list[str]] = defaultdict(list)
    for address in (place for listing in listings for place in places_of(listing)):
        families[parse_label(address).skeleton].append(address)
    for places in families.values():
        empty = sorted((place for place in places if place not in holding), key=label_order)
        n_full = len(places) - len(empty)
        if empty and n_full >= _ENOUGH and n_full > len(empty):
            yield Finding(
                code="weights-missing",
                severity="error",
                where=empty[0] if len(empty) == 1 else empty[0].partition("@")[0],
                what=f"no weights in {len(empty)} of {len(places)} sibling places: {some(empty)}",
                next_step="publish the weights again",
                members=tuple(empty),
                counts={"n_empty": len(empty), "n_places": len(places)},
            )


def _odd_sizes(units: Sequence[Unit]) -> Iterable[Finding]:
    families: dict[tuple[str, str], list[tuple[Unit, int]]] = defaultdict(list)
    for unit in units:
        for one in unit.sets:
            if not one.missing_shards and one.size_bytes:
                families[(parse_label(unit.address).skeleton, one.stem)].append((unit, one.size_bytes))
    for (_, stem), found in sorted(families.items()):
        usual, n_usual = Counter(size for _, size in found).most_common(1)[0]
        odd = [(unit, size) for unit, size in found if abs(size - usual) > 0.001 * usual]
        if n_usual < _ENOUGH or not odd or len(odd) > 0.2 * len(found):
            continue
        odd.sort(key=lambda pair: label_order(pair[0].address))
        shown = [f"{unit.address} has {size:,}" for unit, size in odd]
        yield Finding(
            code="size-outlier",
            severity="warning",
            where=odd[0][0].address if len(odd) == 1 else str(odd[0][0].listing.repo),
            what=f"{stem} has {usual:,} bytes in {n_usual} of {len(found)} places, but {some(shown)}",
            next_step="look whether the upload broke off, or whether this is another model",
            members=tuple(unit.address for unit, _ in odd),
            counts={"n_odd": len(odd), "n_places": len(found)},
        )
