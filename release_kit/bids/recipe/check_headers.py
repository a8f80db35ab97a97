"""Whether the headers of recordings fit the recipe and each other: TR, volumes, dummy scans, geometry.

Headers are read in threads; voxels only where a file's length makes its header doubtful (see ``recordings/header.py``).
"""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from release_kit.bids.recipe.check_sources import Expected
from release_kit.bids.recipe.model import Run
from release_kit.bids.recipe.problems import Problem, listed, problem
from release_kit.bids.recordings.header import ImageFacts, read_facts
from release_kit.bids.sidecars.slice_times import slice_time_problem
from release_kit.core.errors import ReleaseKitError

OnEvent = Callable[[str, int, int], None] | None

TR_TOLERANCE = 1e-4
"""Share of the TR; headers hold 32-bit numbers."""
VOXEL_DECIMALS = 3
LONG_S, LONG_SHARE = 10.0, 0.05
"""A run may go on after its stimulus for this many seconds, or this share of what it shows."""
MAX_THREADS = 8


@dataclass(frozen=True, kw_only=True)
class HeaderFacts:
    """What the header of one recording says."""

    expected: Expected
    facts: ImageFacts

    def to_dict(self) -> dict[str, Any]:
        """Return the record for ``--json``."""
        run, anatomy = self.expected.run, self.expected.anatomy
        labels = {
            "subject": self.expected.subject.label,
            "session": (run or anatomy).session if run or anatomy else None,
            "task": run.task if run else None,
            "run": run.run if run else None,
            "suffix": run.suffix if run else anatomy.suffix if anatomy else None,
            "derivative": self.expected.derivative.name if self.expected.derivative else None,
        }
        path = str(self.expected.path)
        return {"name": self.expected.name, **labels, "path": path, **self.facts.to_dict()}


def read_headers(
    expected: Iterable[Expected], *, workers: int | None = None, on_event: OnEvent = None, kept: Path | None = None
) -> tuple[list[HeaderFacts], list[Problem]]:
    """Return the header facts of every recording that is there, in order, and a problem for each unreadable one.

    ``kept`` as for ``read_facts``.
    """
    wanted = [one for one in expected if one.exists and one.absent is None]
    threads = workers or min(MAX_THREADS, 2 * (os.cpu_count() or 1))
    headers: list[HeaderFacts] = []
    problems: list[Problem] = []
    with ThreadPoolExecutor(threads) as pool:
        for done, (one, found) in enumerate(
            zip(wanted, pool.map(partial(_read, kept=kept), wanted), strict=True), start=1
        ):
            if isinstance(found, ImageFacts):
                headers.append(HeaderFacts(expected=one, facts=found))
            else:
                problems.append(found)
            if on_event is not None:
                on_event("recording", done, len(wanted))
    return headers, problems


def check_headers(headers: list[HeaderFacts]) -> Iterator[Problem]:
    """Yield where headers contradict the recipe or each other."""
    raw = [one for one in headers if one.expected.derivative is None]
    runs = [one for one in raw if one.expected.run is not None]
    yield from _trs(runs)
    for one in runs:
        yield from _against_recipe(one, one.expected.run, one.facts)  # type: ignore[arg-type]
    yield from _lengths(runs)
    suffixes: dict[str, list[HeaderFacts]] = defaultdict(list)
    for one in raw:
        suffixes[_suffix(one)].append(one)
    for group in suffixes.values():
        yield from _geometry(group)
    yield from _derivatives(headers, runs)


def _read(one: Expected, kept: Path | None) -> ImageFacts | Problem:
    try:
        return read_facts(one.path, one.recording.kind, one.options, kept=kept)  # type: ignore[arg-type]
    except ReleaseKitError as error:
        where = f"{one.name} ({error.where or one.path})"
        return problem("unreadable", error.what, where, error.next_step or "fetch the recording again")
    except OSError as error:
        where = f"{one.name} ({one.path})"
        return problem("unreadable", f"cannot be read ({error.strerror})", where, "make it readable")


def _against_recipe(one: HeaderFacts, run: Run, facts: ImageFacts) -> Iterator[Problem]:
    place, kept = f"{one.expected.name} ({one.expected.path})", facts.n_volumes - run.dummy_scans
    if facts.n_dims == 3 and run.suffix == "bold":
        yield problem("not-a-series", "is one volume, expected a series", place, "name the right file")
        return
    if facts.slice_times_s is not None:
        what = slice_time_problem(facts.slice_times_s, n_slices=facts.shape[2], tr_s=run.tr_s)
        if what is not None:
            yield problem("slice-times", f"the DICOM {what}", place, "correct tr_s, or name the right series")
    if kept <= 0:
        what = f"has {facts.n_volumes} volumes, of which {run.dummy_scans} are dummy scans"
        yield problem("dummy-scans", what, place, "correct dummy_scans, or name the right file")
    elif run.shows is not None and (facts.tr_s is None or _same(facts.tr_s, run.tr_s) or _in_ms(facts, run)):
        yield from _against_stimulus(run, kept, place)


def _trs(runs: list[HeaderFacts]) -> Iterator[Problem]:
    """The TR of headers against the recipe's; runs with the same contradiction make one problem."""
    groups: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for one in runs:
        run, facts = one.expected.run, one.facts
        assert run is not None
        if run.suffix != "bold" or facts.n_dims == 3:
            continue
        if facts.tr_s is None:
            if one.expected.recording.kind == "nifti":
                what = f"the header holds no TR; the recipe's {run.tr_s:g} s is taken"
                groups["tr-unknown", what, "make sure of it"].append(one.expected.name)
        elif _in_ms(facts, run):
            what = f"the header says {facts.tr_s:g} without a unit: the recipe's {run.tr_s:g} s in milliseconds"
            groups["tr-unknown", what, "make sure of it"].append(one.expected.name)
        elif not _same(facts.tr_s, run.tr_s):
            unit = "s" if facts.tr_unit_known else "(no unit)"
            what = f"the header's TR is {facts.tr_s:g} {unit}, expected {run.tr_s:g} s as the recipe says"
            groups["tr", what, "correct tr_s, or name the right file"].append(one.expected.name)
    for (code, what, step), names in groups.items():
        yield problem(code, f"{what} ({listed(names)})" if len(names) > 1 else what, names[0], step)


def _same(found_s: float, said_s: float) -> bool:
    return abs(found_s - said_s) <= TR_TOLERANCE * said_s


def _in_ms(facts: ImageFacts, run: Run) -> bool:
    return facts.tr_s is not None and not facts.tr_unit_known and _same(facts.tr_s, 1000 * run.tr_s)


def _against_stimulus(run: Run, kept: int, place: str) -> Iterator[Problem]:
    """``n_volumes * TR`` after the dummy scans against the time at which the stimulus ends in the run."""
    shows, lasts_s = run.shows, kept * run.tr_s
    assert shows is not None
    end_s = shows.onset_s + shows.duration_s
    dropped = f" after {run.dummy_scans} dummy scans" if run.dummy_scans else ""
    span = f"{kept} volumes x {run.tr_s:g} s{dropped} = {lasts_s:g} s"
    shown = f"{shows.start_s:g} to {shows.end_s:g} s of {shows.stimulus!r}, which end {end_s:g} s into the run"
    if end_s - lasts_s >= run.tr_s - 1e-6:
        what = f"{span}, but it shows {shown}: {end_s - lasts_s:g} s too short"
        yield problem("run-short", what, place, "correct the span, or name the right file")
    elif lasts_s - end_s > max(LONG_S, LONG_SHARE * end_s):
        what = f"{span}, but it shows {shown}: {lasts_s - end_s:g} s longer"
        yield problem("run-long", what, place, "correct the span, or name the right file; else all is well")


def _lengths(runs: list[HeaderFacts]) -> Iterator[Problem]:
    same_run: dict[tuple, list[HeaderFacts]] = defaultdict(list)
    for one in runs:
        run = one.expected.run
        assert run is not None
        same_run[run.session, run.task, run.run, run.suffix].append(one)
    for group in same_run.values():
        counts = Counter(one.facts.n_volumes for one in group)
        usual = _usual(counts)
        for one in group:
            if one.facts.n_volumes != usual and len(group) > 1:
                what = f"has {one.facts.n_volumes} volumes; {counts[usual]} of {len(group)} subjects have {usual}"
                where = f"{one.expected.name} ({one.expected.path})"
                yield problem("length-differs", what, where, "make sure that it is this run, and complete")


def _geometry(group: list[HeaderFacts]) -> Iterator[Problem]:
    """Matrix, voxel size and orientation against what most images of the same suffix have; one problem a deviation."""
    aspects: dict[str, Callable[[ImageFacts], str]] = {
        "matrix": lambda facts: "x".join(map(str, facts.shape)),
        "voxel size": lambda facts: "x".join(f"{round(size, VOXEL_DECIMALS):g}" for size in facts.voxel_mm) + " mm",
        "orientation": lambda facts: facts.orientation,
    }
    for aspect, of in aspects.items():
        counts = Counter(of(one.facts) for one in group)
        usual = _usual(counts)
        for value in sorted(set(counts) - {usual}):
            names = [one.expected.name for one in group if of(one.facts) == value]
            what = (
                f"{aspect} {value} in {len(names)} of {len(group)} {_suffix(group[0])} images ({listed(names)}); "
                f"{counts[usual]} have {usual}"
            )
            step = "name the right files, or `allow` it with a reason"
            if group[0].expected.run is None:
                yield problem("anatomy-differs", what, names[0], step)
            else:
                yield problem("geometry", what, names[0], step)


def _derivatives(headers: list[HeaderFacts], runs: list[HeaderFacts]) -> Iterator[Problem]:
    kept = {one.expected.name: one.facts.n_volumes - _dummies(one) for one in runs}
    groups: dict[tuple[str, int], list[str]] = defaultdict(list)
    for one in headers:
        if one.expected.derivative is None or one.expected.run is None:
            continue
        derivative = one.expected.derivative.name
        raw = one.expected.name.removesuffix(f" {derivative}")
        if raw in kept and one.facts.n_volumes != kept[raw]:
            groups[derivative, one.facts.n_volumes - kept[raw]].append(raw)
    for (derivative, difference), names in sorted(groups.items()):
        more = f"{abs(difference)} volumes {'more' if difference > 0 else 'fewer'}"
        what = f"{more} than the run in {len(names)} files ({listed(names)})"
        yield problem("length-differs", what, f"derivatives {derivative}", "say in its description what was dropped")


def _dummies(one: HeaderFacts) -> int:
    return one.expected.run.dummy_scans if one.expected.run else 0


def _suffix(one: HeaderFacts) -> str:
    expected = one.expected
    return expected.run.suffix if expected.run else expected.anatomy.suffix if expected.anatomy else "image"


def _usual(counts: Counter) -> Any:
    """The most frequent value; of equally frequent ones the first that came."""
    return counts.most_common(1)[0][0]
