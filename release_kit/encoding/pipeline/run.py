"""An analysis from its file to its tables: features, fits, chosen layers, tests, partitions, ceilings, tables.

Every step keeps what is complete and makes the rest, so the same command continues after an interruption, and after a
change makes only what depends on it. One process at a time works in the folder.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from release_kit.core.files import STATE_FOLDER, TEMPORARY_PREFIX, exclusive
from release_kit.encoding.pipeline.check import refuse_problems
from release_kit.encoding.pipeline.choices import CORRECTED, Choices, choices_of, modes_of
from release_kit.encoding.pipeline.designs import Designs, drop_missing, make_features
from release_kit.encoding.pipeline.finished import write_finished
from release_kit.encoding.pipeline.fits import Group, fit_layers
from release_kit.encoding.pipeline.inputs import Inputs, SubjectPlan, open_inputs
from release_kit.encoding.pipeline.judging import TESTS, Judged, judge, lacking_permutations, largest_alphas
from release_kit.encoding.pipeline.partitions import PARTITIONS, partition_model
from release_kit.encoding.pipeline.regions import read_regions
from release_kit.encoding.pipeline.responses import remove_cleaned
from release_kit.encoding.pipeline.results import (
    ModeResult,
    between_annotators,
    between_repeats,
    between_subjects,
    choose_layers,
)
from release_kit.encoding.pipeline.summary import headline, write_tables
from release_kit.encoding.pipeline.units import FITS, tell_damage
from release_kit.encoding.spec.model import Analysis

Event = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class RunReport:
    """What a run did.

    Attributes:
        results: of each mode, the main one first.
        n_fitted: fits that were made now.
        n_kept: fits that were there before and whole.
        tables: files that hold the results.
        unused: folders of fits, tests and partitions that the file does not ask for any more.
        notes: what is to be said of voxels that are not scored, and of tests that can call none.
    """

    results: tuple[ModeResult, ...]
    n_fitted: int
    n_kept: int
    tables: tuple[Path, ...]
    unused: tuple[Path, ...]
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return a line for each subject and feature of the main mode."""
        return headline(self.results[0])

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "ok": True,
            "modes": [result.choices.mode for result in self.results],
            "fitted": self.n_fitted,
            "kept": self.n_kept,
            "tables": [str(path) for path in self.tables],
            "unused": [str(path) for path in self.unused],
            "notes": list(self.notes),
        }


def run_analysis(
    analysis: Analysis, *, mode: str | None = None, on_event: Event | None = None, keep_cleaned: bool = False
) -> RunReport:
    """Run an analysis as far as its tables and maps, or continue it.

    Args:
        analysis: the file.
        mode: in place of the file's: ``corrected``, ``paper`` or ``both``.
        on_event: told what is done.
        keep_cleaned: leave the cleaned responses in the state folder, for a next run.

    Raises:
        AnalysisError: everything that keeps it from being run, before anything is computed.
        ReleaseKitError: another process works in the folder, the disk is full.
    """
    analysis = replace(analysis, mode=mode or analysis.mode)
    fits: dict[str, str] = {}
    notes: list[str] = []

    def say(event: Mapping[str, Any]) -> None:
        if event["event"] in ("fitted", "kept"):
            # A fit is asked for again as a band of a model: what was fitted now was not there before.
            fits.setdefault(event["fit_id"], event["event"])
        if event["event"] in ("voxels", "note") and event["text"] not in notes:
            notes.append(event["text"])
        if on_event:
            on_event(event)

    with exclusive(analysis.folder, "analysis"):
        remove_leftovers(analysis.folder)
        refuse_problems(analysis)
        results = tuple(run_mode(analysis, each, say) for each in modes_of(analysis))
        say({"event": "step", "what": "tables"})
        tables = write_tables(analysis.folder, results)
        write_finished(analysis, results, tables)
        if not keep_cleaned:
            remove_cleaned(analysis.folder)
    return RunReport(
        results=results,
        n_fitted=list(fits.values()).count("fitted"),
        n_kept=list(fits.values()).count("kept"),
        tables=tuple(tables),
        unused=unused_folders(analysis.folder, results),
        notes=tuple(notes),
    )


def run_mode(analysis: Analysis, mode: str, say: Event) -> ModeResult:
    """Run one mode of an analysis up to its results; nothing is summarised yet."""
    choices = choices_of(analysis, mode)
    inputs = open_inputs(analysis, choices)
    say({"event": "step", "what": f"features ({mode})"})
    features = make_features(analysis, inputs, choices, say)
    inputs = drop_missing(analysis, inputs, features, choices)
    groups = [
        Group(
            analysis=analysis,
            inputs=inputs,
            choices=choices,
            plans=plans,
            designs=Designs(analysis=analysis, features=features, plan=plans[0], choices=choices),
            on_event=say,
        )
        for plans in _groups(inputs, choices)
    ]
    dataset = inputs.dataset
    regions = {s: read_regions(analysis.regions, dataset.mask(s), s) for s in inputs.plans}
    result = ModeResult(
        analysis=analysis, choices=choices, inputs=inputs, features=features, groups=groups, regions=regions
    )
    n_models = sum(len(features.parts(name)) for name in analysis.features) * len(inputs.plans)
    say({"event": "step", "what": f"models ({mode})", "n": n_models})
    for group in groups:
        for name in analysis.features:
            result.fits |= fit_layers(group, name)
    choose_layers(result)
    _say_ranks(result, say)
    _judge(result, say)
    _partition(result, say)
    between_repeats(result)
    between_subjects(result)
    between_annotators(result)
    return result


def _groups(inputs: Inputs, choices: Choices) -> Iterator[tuple[SubjectPlan, ...]]:
    """Yield subjects with the same samples; where features are filtered, with runs of the same length, too."""
    for plans in inputs.groups():
        found: dict[tuple[int, ...], list[SubjectPlan]] = {}
        for plan in plans:
            lengths = tuple(run.n_volumes for run in plan.used_runs) if choices.clean_features else ()
            found.setdefault(lengths, []).append(plan)
        yield from map(tuple, found.values())


def unused_folders(folder: Path, results: Sequence[ModeResult]) -> tuple[Path, ...]:
    """Return folders of fits, tests and partitions that no result is made of: left by another version of the file.

    A test of another version lies in a fit that is still used. Only chosen layers are tested.
    """
    used = {fit_id for result in results for fit_id in result.fit_ids()}
    used |= {each.partition_id for result in results for each in result.partitions}
    there = [path for kind in (FITS, PARTITIONS) for path in sorted((folder / kind).glob("*")) if path.is_dir()]
    tests = {judged.home for result in results for judged in result.judged.values()}
    left = [
        path
        for fit_id in sorted(used)
        for path in sorted((folder / FITS / fit_id / TESTS).glob("*"))
        if path.is_dir() and path not in tests
    ]
    return (*(path for path in there if path.name not in used), *left)


def remove_folders(folders: Sequence[Path]) -> None:
    """Remove folders of fits, tests and partitions, as ``RunReport.unused`` names them."""
    for folder in folders:
        shutil.rmtree(folder)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files that an interrupted run left."""
    for kind in (FITS, PARTITIONS, "tables"):
        for path in (folder / kind).rglob(f"{TEMPORARY_PREFIX}*"):
            if STATE_FOLDER not in path.parts:
                path.unlink(missing_ok=True)


def _judge(result: ModeResult, say: Event) -> None:
    chosen = [(subject, result.chosen(subject, feature, annotator)) for subject, feature, annotator in result.profiles]
    say({"event": "step", "what": f"tests ({result.choices.mode})", "n": len(chosen)})
    for group in result.groups:
        for subject, part in chosen:
            if any(plan.subject == subject for plan in group.plans):
                judged = judge(
                    result.fit(subject, part),
                    group.plan(subject),
                    result.choices.test,
                    lambda group=group, subject=subject: group.held_out(subject),
                    tell_damage(group.folder, say),
                )
                if judged is not None:
                    result.judged[subject, part] = judged
                    _say_doubts(result, subject, part.label, judged, say)
                say({"event": "tested", "subject": subject, "feature": part.feature})


def _say_ranks(result: ModeResult, say: Event) -> None:
    """Say of chosen layers whose columns follow from each other: nothing tells their weights apart but the penalty."""
    for group in result.groups:
        subject = group.plans[0].subject
        for one, feature, annotator in result.profiles:
            if one != subject:
                continue
            part = result.chosen(subject, feature, annotator)
            for split in group.plan(subject).splits:
                if found := group.designs.dependent_columns(part, split):
                    rank, n = found
                    what = f"features.{feature}, layer {part.layer}: rank {rank:,} of {n:,} columns in training"
                    why = "only the penalty decides between columns that follow from others"
                    say({"event": "note", "text": f"{what}: {why}"})


def _say_doubts(result: ModeResult, subject: str, label: str, judged: Judged, say: Event) -> None:
    """Say where a test has too few permutations, or its fit too small a grid of penalties."""
    choices = result.choices
    texts = [lacking_permutations(judged.p, choices.test.to_dict(), judged.level)]
    texts += [largest_alphas(judged, choices.ridge.alphas)] if choices.mode == CORRECTED else []
    for text in filter(None, texts):
        say({"event": "note", "subject": subject, "text": f"sub-{subject} {label}: {text}"})


def _partition(result: ModeResult, say: Event) -> None:
    bands = result.analysis.bands
    if bands:
        n_models = len(bands) * len(result.inputs.plans)
        say({"event": "step", "what": f"banded models ({result.choices.mode})", "n": n_models})
    for group in result.groups:
        for plan in group.plans:
            for use in bands.values():
                chosen = {name: result.chosen(plan.subject, name) for name in use.features}
                regions = result.regions[plan.subject]
                result.partitions.append(partition_model(group, plan.subject, use, chosen, regions))
