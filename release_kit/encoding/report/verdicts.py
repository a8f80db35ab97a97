"""What an analysis says, as sentences with a verdict: each names the rule it was judged by and the rows it rests on.

``holds`` and ``does not hold`` need an interval, or a test, on one side of zero; everything else cannot be told.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from release_kit.core.pictures import number_text
from release_kit.core.wording import counted
from release_kit.encoding.maps.regions import interval_over
from release_kit.encoding.pipeline.regions import ALL, TOP, TOP_SHARE

HOLDS, FAILS, UNTOLD = "holds", "does not hold", "cannot be told"
Rows = Sequence[Mapping[str, Any]]
_BEST = f"the {100 * TOP_SHARE:g} % of voxels that cross-validation on training data finds best"
_MOST_DECIMALS = 4
Tested = tuple[str, str, str]
"""Subject, feature and annotator of a test."""
_NONE: Mapping[Tested, str] = {}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One judged sentence.

    Attributes:
        statement: the sentence.
        verdict: ``holds``, ``does not hold`` or ``cannot be told``.
        value: the number, with its interval.
        rule: when it holds.
        reason: why this verdict.
        table: file of the rows.
        rows: their numbers, from 0.
    """

    statement: str
    verdict: str
    value: str
    rule: str
    reason: str
    table: str
    rows: tuple[int, ...]


def make_verdicts(
    tables: Mapping[str, Rows], mode: str, level: float, lacking: Mapping[Tested, str] = _NONE
) -> list[Verdict]:
    """Return the verdicts of one mode: comparisons, unique parts, whether models predict, what the modes change.

    Args:
        tables: name of table → its rows, in the order of the file.
        mode: which mode's rows are judged.
        level: of significance.
        lacking: tests that call nobody only because of too few permutations, and what is said of each.
    """
    return [
        *_compared(tables["statistics"], mode),
        *_unique(tables["partition"], mode),
        *_predicts(tables["encoding_scores"], mode, level, lacking),
        *_seen(tables["modes"]),
    ]


def _compared(rows: Rows, mode: str) -> Iterator[Verdict]:
    for name in dict.fromkeys(row["name"] for row in rows if row["mode"] == mode):
        asked = [
            (n, row) for n, row in enumerate(rows)
            if (row["mode"], row["name"], row["region"], row["metric"]) == (mode, name, TOP, "r")
        ]  # fmt: skip
        over = [(n, row) for n, row in asked if row["test"] == "subjects"] or asked
        for n, row in over:
            who = f"over {counted(row['n'], 'subject')}" if row["test"] == "subjects" else f"in sub-{row['subject']}"
            what = "95 % interval of the mean difference over subjects"
            if row["test"] != "subjects":
                what = "95 % block-bootstrap interval of the difference"
            yield Verdict(
                statement=f"{row['a']} predicts better than {row['b']} {who}",
                verdict=_side(row["low"], row["high"]),
                value=f"Δr {_with_interval(row['difference'], row['low'], row['high'])}",
                rule=f"the {what} lies above 0, in {_BEST} for either model",
                reason=_reason(row["low"], row["high"]),
                table="statistics",
                rows=(n,),
            )


def _unique(rows: Rows, mode: str) -> Iterator[Verdict]:
    groups: dict[tuple[str, str], list[tuple[int, Mapping[str, Any]]]] = {}
    for n, row in enumerate(rows):
        if row["mode"] == mode and row["region"] == TOP and row["part"].startswith("unique:") and _known(row["value"]):
            groups.setdefault((row["name"], row["part"]), []).append((n, row))
    for (name, part), found in groups.items():
        values = [row["value"] for _, row in found]
        ends = interval_over(values) if len(values) > 1 else (found[0][1]["low"], found[0][1]["high"])
        own = [_side(row["low"], row["high"]) for _, row in found]
        metric = "R²" if found[0][1]["metric"] == "r2" else "r"
        above = own.count(HOLDS)
        verdict = HOLDS if above == len(own) else FAILS if own.count(FAILS) == len(own) else UNTOLD
        yield Verdict(
            statement=f"{part.partition(':')[2]} explains something that no other band of {name} does",
            verdict=verdict,
            value=f"unique {metric} {_with_interval(sum(values) / len(values), *ends)}",
            rule=f"the block-bootstrap interval of the mean over {_BEST} for all bands together lies above 0 in every "
            "subject",
            reason=f"it lies above 0 in {above} of {counted(len(own), 'subject')}",
            table="partition",
            rows=tuple(n for n, _ in found),
        )


def _predicts(rows: Rows, mode: str, level: float, lacking: Mapping[Tested, str]) -> Iterator[Verdict]:
    groups: dict[tuple[str, str], list[tuple[int, Mapping[str, Any]]]] = {}
    for n, row in enumerate(rows):
        if (row["mode"], row["metric"], row["region"]) == (mode, "share_significant", ALL) and row["chosen"]:
            groups.setdefault((row["feature"], row["annotator"]), []).append((n, row))
    for (feature, annotator), found in groups.items():
        known = [(n, row) for n, row in found if _known(row["value"])]
        n_above = sum(row["value"] > 0 for _, row in known)
        shares = [100 * row["value"] for _, row in known]
        n_lacking = sum((row["subject"], feature, annotator) in lacking for _, row in found)
        verdict = UNTOLD if not known or n_lacking or 0 < n_above < len(known) else HOLDS if n_above else FAILS
        why = f"; too few permutations to call any voxel in {n_lacking}" if n_lacking else ""
        who = "" if annotator == "mean" else f" ({annotator})"
        yield Verdict(
            statement=f"{feature}{who} predicts responses to what was not trained on",
            verdict=verdict,
            value=f"{number_text(sum(shares) / len(shares), 1)} % of voxels" if shares else "no value",
            rule=f"some voxels have q ≤ {level:g} in every subject",
            reason=f"in {n_above} of {counted(len(found), 'subject')} there are such voxels{why}",
            table="encoding_scores",
            rows=tuple(n for n, _ in found),
        )


def _seen(rows: Rows) -> Iterator[Verdict]:
    found = [(n, row) for n, row in enumerate(rows) if row["metric"] == "held-out samples that training shows"]
    for mode in ("paper", "corrected") if found else ():
        counts = [row[mode] for _, row in found if _known(row[mode])]
        if not counts:
            continue
        total = sum(counts)
        yield Verdict(
            statement=f"In the {mode} mode, nothing that is held out is shown in training",
            verdict=FAILS if total else HOLDS,
            value=f"{total:,.0f} samples",
            rule="no second of a film stands in training runs and in held-out runs",
            reason="samples whose second of the film was also shown in a training run, summed over subjects",
            table="modes",
            rows=tuple(n for n, _ in found),
        )


def _side(low: float | None, high: float | None) -> str:
    if not (_known(low) and _known(high)):
        return UNTOLD
    return HOLDS if low > 0 else FAILS if high <= 0 else UNTOLD


def _reason(low: float | None, high: float | None) -> str:
    if not (_known(low) and _known(high)):
        return "there is no interval: bootstrap is off, or there is one subject"
    return {HOLDS: "it lies above 0", FAILS: "it lies at or below 0", UNTOLD: "it holds 0"}[_side(low, high)]


def _with_interval(value: float | None, low: float | None, high: float | None) -> str:
    if not _known(value):
        return "no value"
    decimals = decimals_of(value, low, high)
    ends = f" [{number_text(low, decimals)}, {number_text(high, decimals)}]" if _known(low) and _known(high) else ""
    return number_text(value, decimals) + ends


def decimals_of(*values: float | None) -> int:
    """Return how many decimals show numbers together: three, more where one that is not 0 would read as 0."""
    decimals = 3
    while decimals < _MOST_DECIMALS and any(each and not float(f"{each:.{decimals}f}") for each in values):
        decimals += 1
    return decimals


def _known(value: float | None) -> bool:
    return value is not None
