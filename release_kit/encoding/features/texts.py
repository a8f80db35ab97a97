"""Annotations of one stimulus as texts of equal time bins, for each annotator; what nobody wrote is explicitly missing.

Owns which rows fall into which bin and what may stand before a bin as its context. What becomes of texts is the
models'; how a missing bin is filled is ``assemble.py``'s.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from release_kit.bids.annotations.tokens import is_placeholder
from release_kit.core.records import nearest
from release_kit.encoding.data.runs import EDGE_S, RunInfo
from release_kit.encoding.errors import FeatureError
from release_kit.encoding.features.spec import FeatureSpec

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, kw_only=True)
class BinnedTexts:
    """The texts of one stimulus: bin ``i`` covers ``[i * bin_s, (i + 1) * bin_s)``.

    Attributes:
        stim_id: label of the stimulus.
        bin_s: width of a bin in seconds.
        n_bins: how many.
        language: of the texts; None for a medium without text.
        annotators: who wrote, sorted; empty for a medium without text.
        rows: of each annotator, the texts of its rows in order of time.
        held: of each annotator and bin, the rows that have a part in the bin (places in ``rows``).
    """

    stim_id: str
    bin_s: float
    n_bins: int
    language: str | None = None
    annotators: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    held: tuple[tuple[tuple[int, ...], ...], ...] = ()

    @cached_property
    def texts(self) -> tuple[tuple[str | None, ...], ...]:
        """``[annotator][bin]``: the texts of a bin joined by blanks, None where there is none."""
        return tuple(
            tuple(" ".join(rows[k] for k in held) if held else None for held in bins)
            for rows, bins in zip(self.rows, self.held, strict=True)
        )

    @cached_property
    def missing(self) -> npt.NDArray[np.bool_]:
        """(n_bins,) True where no annotator wrote anything."""
        return np.array([not any(held) for held in zip(*self.held, strict=True)] or [True] * self.n_bins, bool)

    def contexts(self, context_s: float) -> tuple[tuple[str, ...], ...]:
        """Return ``[annotator][bin]``: the texts of the ``context_s`` seconds before a bin, ``""`` for none.

        Each row stands once, however many bins it covers; rows that reach into the bin itself are its own text and no
        context; a text that is repeated row after row stands once.
        """
        reach = math.ceil(context_s / self.bin_s - EDGE_S)
        return tuple(
            tuple(_context(rows, bins, k, reach) for k in range(self.n_bins))
            for rows, bins in zip(self.rows, self.held, strict=True)
        )


def bin_texts(
    table: "pa.Table",
    stim_id: str,
    level: str,
    language: str | None,
    duration_s: float,
    bin_s: float,
    annotators: str | tuple[str, ...] = "mean",
) -> BinnedTexts:
    """Return what each annotator wrote in each bin of a stimulus.

    A row belongs to every bin that it has a part in; a row without duration to the bin of its onset. Several rows of a
    bin are joined in the order of their onsets. Rows without a text, or with a sign for none (``..``), are not there.

    Args:
        table: annotations in stimulus time (``release_kit.bids.annotations.table.SCHEMA``).
        stim_id: the stimulus.
        level: the level of annotation.
        language: its language; None where the level has one only.
        duration_s: how much of the stimulus is binned; the last bin may reach beyond it.
        bin_s: width of a bin.
        annotators: names, or ``mean`` or ``each`` for all of them.

    Raises:
        FeatureError: the stimulus lacks the level, the language or an annotator, or has several languages.
    """
    rows = _rows_of(table, stim_id)
    where = f"stimulus {stim_id}, level {level}"
    language = _one_language(rows, level, language, where)
    chosen = [row for row in rows if row["level"] == level and row["language"] == language]
    names = sorted({row["annotator"] for row in chosen})
    if not isinstance(annotators, str):
        if absent := sorted(set(annotators) - set(names)):
            raise FeatureError(f"nobody called {', '.join(absent)} wrote it{nearest(absent[0], names)}", where=where)
        names = sorted(set(annotators))
    n_bins = count_bins(duration_s, bin_s)
    written = [_of_annotator(chosen, name, n_bins, bin_s) for name in names]
    return BinnedTexts(
        stim_id=stim_id,
        bin_s=bin_s,
        n_bins=n_bins,
        language=language,
        annotators=tuple(names),
        rows=tuple(rows for rows, _ in written),
        held=tuple(held for _, held in written),
    )


def bin_stimuli(table: "pa.Table | None", runs: Iterable[RunInfo], spec: FeatureSpec) -> tuple[BinnedTexts, ...]:
    """Return the bins of every stimulus that runs show, as far as any run shows it; sorted by stimulus.

    Args:
        table: the annotations; None where the spec reads none.
        runs: of all subjects.
        spec: level, language, annotators and width of the bins.

    Raises:
        FeatureError: runs whose stimulus lacks the level, each named with its level; no language is named, and stimuli
            have different ones.
    """
    shown: dict[str, list[RunInfo]] = {}
    for run in runs:
        shown.setdefault(run.stim_id, []).append(run)
    found, problems = [], []
    for stim_id, showing in sorted(shown.items()):
        duration_s = max(run.stim_end_s for run in showing)
        if table is None or spec.level is None:
            found.append(BinnedTexts(stim_id=stim_id, bin_s=spec.bin_s, n_bins=count_bins(duration_s, spec.bin_s)))
            continue
        try:
            found.append(bin_texts(table, stim_id, spec.level, spec.language, duration_s, spec.bin_s, spec.annotators))
        except FeatureError as error:
            named = ", ".join(dict.fromkeys(run.name for run in showing))
            problems.append(f"{named} (stimulus {stim_id}): {error.what}")
    if problems:
        what = problems[0] if len(problems) == 1 else "\n  ".join([f"{len(problems)} stimuli:", *problems])
        step = "annotate it, get its files, or leave these runs out"
        raise FeatureError(what, where=f"features.{spec.name}, level {spec.level}", next_step=step)
    _check_one_language(found, f"features.{spec.name}, level {spec.level}")
    return tuple(found)


def count_bins(duration_s: float, bin_s: float) -> int:
    """Return how many bins cover ``duration_s``; the last one may reach beyond it."""
    return max(1, math.ceil(duration_s / bin_s - EDGE_S))


def _rows_of(table: "pa.Table", stim_id: str) -> list[dict]:
    import pyarrow.compute as pc

    chosen = table.filter(pc.equal(table["stim_id"], stim_id))
    names = ["onset_s", "duration_s", "level", "annotator", "language", "text"]
    return sorted(chosen.select(names).to_pylist(), key=lambda row: row["onset_s"])


def _one_language(rows: Sequence[dict], level: str, language: str | None, where: str) -> str:
    levels = sorted({row["level"] for row in rows})
    if level not in levels:
        there = f"it has {', '.join(levels)}" if levels else "it has no annotation at all"
        raise FeatureError(f"the level {level!r} is not there ({there})", where=where)
    languages = sorted({row["language"] for row in rows if row["level"] == level})
    if language is None and len(languages) == 1:
        return languages[0]
    if language not in languages:
        asked = "a language must be named" if language is None else f"there is none in {language!r}"
        raise FeatureError(f"{asked}: it is written in {', '.join(languages)}", where=where)
    return language


def _check_one_language(binned: Sequence[BinnedTexts], where: str) -> None:
    of: dict[str | None, list[str]] = {}
    for each in binned:
        of.setdefault(each.language, []).append(each.stim_id)
    if len(of) > 1:
        listed = "; ".join(f"{', '.join(names)} in {language}" for language, names in sorted(of.items()))
        step = "name the language, or leave the runs of the others out"
        raise FeatureError(f"stimuli are annotated in different languages: {listed}", where=where, next_step=step)


def _of_annotator(
    rows: Sequence[dict], name: str, n_bins: int, bin_s: float
) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    texts: list[str] = []
    held: list[list[int]] = [[] for _ in range(n_bins)]
    for row in rows:
        if row["annotator"] != name or row["text"] is None or is_placeholder(row["text"]):
            continue
        first = math.floor(row["onset_s"] / bin_s + EDGE_S)
        last = max(first + 1, math.ceil((row["onset_s"] + row["duration_s"]) / bin_s - EDGE_S))
        for k in range(max(0, first), min(last, n_bins)):
            held[k].append(len(texts))
        texts.append(" ".join(row["text"].split()))
    return tuple(texts), tuple(map(tuple, held))


def _context(rows: Sequence[str], bins: Sequence[Sequence[int]], k: int, reach: int) -> str:
    own = set(bins[k])
    earlier = dict.fromkeys(row for held in bins[max(0, k - reach) : k] for row in held if row not in own)
    kept: list[str] = []
    for text in (rows[row] for row in earlier):
        if not kept or kept[-1] != text:
            kept.append(text)
    if kept and own and kept[-1] == " ".join(rows[row] for row in bins[k]):
        kept.pop()
    return " ".join(kept)
