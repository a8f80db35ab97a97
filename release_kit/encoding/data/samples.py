"""Which volumes are used, which of them are held out, and the folds of cross-validation over the rest.

Owns the rule and its arithmetic; reads no file. ``PAPER_STUDY_RULE`` and ``PAPER_FOLDS`` are what the published
code of the seed's study does (22,262 training and 7,737 test seconds); the defaults are the corrected choices.
"""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from release_kit.core.errors import UsageError
from release_kit.core.records import nearest
from release_kit.core.wording import counted
from release_kit.encoding.arrays import Fold, Samples
from release_kit.encoding.data.problems import DataProblem, refuse
from release_kit.encoding.data.runs import EDGE_S, RunInfo
from release_kit.encoding.errors import AnalysisError


@dataclass(frozen=True, kw_only=True)
class SampleRule:
    """Which volumes of which runs are samples, and which samples are held out."""

    drop_start_s: float = 20.0
    """Seconds of run time at the start of a scan that are not used (the signal settles)."""
    drop_first_run_start: bool = True
    """Also in runs that show the beginning of a stimulus; False keeps them whole there, as the published code does."""
    drop_overlap: bool = True
    """Leave out what a run repeats from the run before, so that no second of a film is there twice."""
    test_runs: str | tuple[str, ...] = "last"
    """``last`` of each title, ``none``, or names of runs."""
    test_last: Mapping[str, int] = field(default_factory=dict)
    """Title → how many of its last runs are held out, where it is not 1."""
    holdout_titles: tuple[str, ...] = ()
    """Titles that are held out as a whole."""
    leave_out: tuple[str, ...] = ()
    """Stimuli, tasks, titles or runs that are not used at all. Names that are not here are no mistake: a dataset that
    was opened without them lacks them, and has checked the names (``ResponsesSpec.leave_out``)."""
    refuse_shared: bool = True
    """Refuse a split in which held-out samples show seconds of a film that training samples show too."""

    def __post_init__(self) -> None:
        if isinstance(self.test_runs, str) and self.test_runs not in ("last", "none"):
            raise UsageError(f"test_runs is {self.test_runs!r}: say last, none, or a list of names of runs")
        if self.drop_start_s < 0 or any(n < 1 for n in self.test_last.values()):
            raise UsageError("drop_start_s is 0 or more, and test_last counts from 1")


PAPER_RULE = SampleRule(drop_first_run_start=False, drop_overlap=False, refuse_shared=False)
"""The published code's choices for any study: the first 20 s are dropped of every run but the first of an episode, the
last run of each title is the test, and nobody looks whether both show the same seconds."""

PAPER_STUDY_RULE = replace(PAPER_RULE, test_last={"dreamgirls": 2}, leave_out=("bigbangtheory2",))
"""The same for the seed's study: two runs of Dreamgirls are held out, the second episode of The Big Bang Theory is not
used. 22,262 training and 7,737 test samples over 41 runs."""

PAPER_FOLDS = (
    ("breakingbad", "crown"),
    ("bigbangtheory", "dreamgirls"),
    ("gis", "glee", "suits"),
    ("heroes", "mentalist"),
)
"""The published code's four groups of titles (5,523, 6,313, 5,980 and 4,446 training seconds)."""


def plan_samples(runs: Sequence[RunInfo], rule: SampleRule) -> Samples:
    """Return the samples of one subject's runs, run after run in the order given.

    A volume at run time ``t`` is used when ``onset_s + overlap_s <= t < onset_s + shown_s`` and ``t >= drop_start_s``
    (each part as the rule says).

    Args:
        runs: the runs of one subject.
        rule: what to use and what to hold out.

    Raises:
        DataError: a run of which nothing is left, held-out seconds that training shows too; every one.
        AnalysisError: a name that no run has, nothing to train on, no run.
    """
    _check_names(runs, rule)
    used = [run for run in runs if not {run.stim_id, run.title, run.task, run.name} & set(rule.leave_out)]
    chosen = [_used_volumes(run, rule, _is_first(run, used)) for run in used]
    refuse(
        DataProblem(
            subject=run.subject,
            run=run.name,
            what=f"none of its {counted(run.n_volumes, 'volume')} is left (the stimulus is shown for "
            f"{run.shown_s:g} s from {run.onset_s:g} s on, {run.overlap_s:g} s of it repeated)",
            next_step="leave the run out, or drop less of its start",
        )
        for run, volumes in zip(used, chosen, strict=True)
        if not len(volumes)
    )
    held = _held_out(used, rule)
    counts = [len(volumes) for volumes in chosen]
    samples = Samples(
        run=np.repeat(np.arange(len(used), dtype=np.int32), counts),
        volume=np.concatenate([*chosen, np.zeros(0)]).astype(np.int32),
        runs=tuple(run.name for run in used),
        titles=tuple(run.title for run in used),
        train=np.repeat(np.array([run.name not in held for run in used], bool), counts),
    )
    if not samples.train.any():
        step = "hold out fewer runs, or add runs" if used else "name a dataset with recordings of films"
        raise AnalysisError("no sample is left to train on", where="samples", next_step=step)
    if rule.refuse_shared:
        refuse(_shared_problems(used, samples))
    return samples


def shared_seconds(runs: Sequence[RunInfo], samples: Samples) -> dict[str, int]:
    """Return, for each run with held-out samples, how many of them show stimulus time that training samples show.

    Args:
        runs: at least the runs of the samples.
        samples: from ``plan_samples``.
    """
    by_name = {run.name: run for run in runs}
    spans: dict[str, list[tuple[float, float]]] = {}
    rows = {int(samples.run[part.start]): part for part in samples.borders}
    for index, part in rows.items():
        run = by_name[samples.runs[index]]
        if samples.train[part].all():
            times = run.stimulus_times()[samples.volume[part]]
            end = min(times[-1] + run.tr_s, run.stim_end_s)  # what came after was not shown by this run
            spans.setdefault(run.stim_id, []).append((times[0], end))
    found = {}
    for index, part in rows.items():
        run = by_name[samples.runs[index]]
        if not samples.train[part].any():
            times = run.stimulus_times()[samples.volume[part]]
            twice = np.zeros(len(times), bool)
            for begin, end in spans.get(run.stim_id, ()):
                twice |= (times >= begin - EDGE_S) & (times < end - EDGE_S)
            found[run.name] = int(twice.sum())
    return found


def title_folds(
    samples: Samples, n_folds: int | None = None, *, groups: Sequence[Sequence[str]] | None = None
) -> tuple[Fold, ...]:
    """Return folds over the training rows in which no title is in training and test at once.

    Args:
        samples: rows are counted among those with ``train`` only.
        n_folds: None: one fold a title; else titles are dealt, the longest first, each to the shortest fold.
        groups: the titles of each fold, declared (``PAPER_FOLDS``); titles without training rows may be named.

    Raises:
        AnalysisError: fewer titles than folds, fewer than two folds, groups that miss a title or name one twice.
    """
    rows = samples.only(samples.train)
    labels = [rows.title_names[k] for k in rows.title_of_sample]
    return _grouped_folds(labels, n_folds, groups, "title")


def run_folds(samples: Samples, n_folds: int | None = None) -> tuple[Fold, ...]:
    """Return folds over the training rows in which no run is in training and test at once.

    For studies with one title; where there are more, ``title_folds`` says what holds for another film.

    Raises:
        AnalysisError: fewer than two runs with training rows, or fewer runs than folds.
    """
    rows = samples.only(samples.train)
    return _grouped_folds([rows.runs[k] for k in rows.run], n_folds, None, "run")


def leave_one_title_out(samples: Samples) -> tuple[tuple[str, Samples], ...]:
    """Return, for each title, all samples with that title held out and every other one for training.

    What ``samples.train`` says is not kept: runs that were held out are training here unless they are of the title.

    Raises:
        AnalysisError: there is only one title.
    """
    if len(samples.title_names) < 2:
        raise AnalysisError(f"leaving one title out needs two, there is {samples.title_names}", where="samples")
    return tuple(
        (
            title,
            Samples(
                run=samples.run,
                volume=samples.volume,
                runs=samples.runs,
                titles=samples.titles,
                train=samples.title_of_sample != k,
            ),
        )
        for k, title in enumerate(samples.title_names)
    )


def _check_names(runs: Sequence[RunInfo], rule: SampleRule) -> None:
    names, titles = {run.name for run in runs}, {run.title for run in runs}
    known = {
        "run": (rule.test_runs if isinstance(rule.test_runs, tuple) else (), names),
        "title": ((*rule.holdout_titles, *rule.test_last), titles),
    }
    wrong = [
        f"there is no {what} {name!r}{nearest(name, tuple(sorted(there)))}"
        for what, (asked, there) in known.items()
        for name in asked
        if name not in there
    ]
    if len(names) < len(runs):
        twice = sorted(name for name, n in Counter(run.name for run in runs).items() if n > 1)
        wrong.append(f"runs come twice: {', '.join(twice)}")
    if wrong:
        raise AnalysisError("; ".join(wrong), where="samples")


def _is_first(run: RunInfo, runs: Sequence[RunInfo]) -> bool:
    """Return whether no run shows an earlier part of the same stimulus."""
    return all(run.stim_start_s <= other.stim_start_s + EDGE_S for other in runs if other.stim_id == run.stim_id)


def _used_volumes(run: RunInfo, rule: SampleRule, first: bool) -> npt.NDArray[np.int64]:
    begin = run.onset_s + (run.overlap_s if rule.drop_overlap else 0.0)
    if rule.drop_first_run_start or not first:
        begin = max(begin, rule.drop_start_s)
    times = run.volume_times()
    return np.flatnonzero((times >= begin - EDGE_S) & (times < run.onset_s + run.shown_s - EDGE_S))


def _held_out(runs: Sequence[RunInfo], rule: SampleRule) -> set[str]:
    held = {run.name for run in runs if run.title in rule.holdout_titles}
    if rule.test_runs == "last":
        for title in dict.fromkeys(run.title for run in runs):
            of_title = [run.name for run in runs if run.title == title]
            held.update(of_title[-rule.test_last.get(title, 1) :])
    elif rule.test_runs != "none":
        held.update(rule.test_runs)
    return held


def _shared_problems(runs: Sequence[RunInfo], samples: Samples) -> list[DataProblem]:
    subject = {run.name: run.subject for run in runs}
    return [
        DataProblem(
            subject=subject[name],
            run=name,
            what=f"{counted(n, 'held-out sample')} show seconds of the film that training samples show too",
            next_step="drop the overlap, or hold out every run that shows this part",
        )
        for name, n in shared_seconds(runs, samples).items()
        if n
    ]


def _grouped_folds(
    labels: Sequence[Hashable], n_folds: int | None, groups: Sequence[Sequence[str]] | None, what: str
) -> tuple[Fold, ...]:
    sizes = Counter(labels)
    if groups is None:
        groups = [[label] for label in sizes] if n_folds is None else _deal(sizes, n_folds, what)
    named = [label for group in groups for label in group]
    if sorted(set(named)) != sorted(named) or set(sizes) - set(named):
        missing = sorted(set(sizes) - set(named))
        reason = f"lack {', '.join(map(str, missing))}" if missing else f"name a {what} twice"
        raise AnalysisError(f"the groups of the folds {reason}", where="samples")
    place = {label: k for k, group in enumerate(groups) for label in group}
    fold_of_row = np.array([place[label] for label in labels], np.int64)
    folds = [
        Fold(train=np.flatnonzero(fold_of_row != k), test=np.flatnonzero(fold_of_row == k))
        for k in np.unique(fold_of_row)
    ]
    if len(folds) < 2:
        raise AnalysisError(
            f"cross-validation over {what}s needs two of them, training has {counted(len(sizes), what)}",
            where="samples",
            next_step=f"hold out less, or fold over runs{'' if what == 'title' else ' of more scans'}",
        )
    return tuple(folds)


def _deal(sizes: Mapping[Hashable, int], n_folds: int, what: str) -> list[list[Hashable]]:
    if n_folds > len(sizes):
        raise AnalysisError(f"{n_folds} folds of {counted(len(sizes), what)}", where="samples")
    groups: list[list[Hashable]] = [[] for _ in range(n_folds)]
    filled = [0] * n_folds
    for label in sorted(sizes, key=lambda each: (-sizes[each], str(each))):
        k = filled.index(min(filled))
        groups[k].append(label)
        filled[k] += sizes[label]
    return groups
