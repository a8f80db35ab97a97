"""Validation of a dataset, ours or anybody's: the reference validator on each part beside our own checks.

Fails closed: a validator without a verdict, a file that could not be searched for identifying data, or content that was
demanded and is not here is an error, and whatever else was not looked at is listed in the report.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from release_kit.bids.recipe.model import Privacy
from release_kit.bids.validate.annotations import check_annotations
from release_kit.bids.validate.codes import finding
from release_kit.bids.validate.content import check_content, headers_needed, not_looked_at, without_gaps
from release_kit.bids.validate.describe import check_description, check_participants
from release_kit.bids.validate.events import RunEvents, check_events, read_runs
from release_kit.bids.validate.explained import with_explanations
from release_kit.bids.validate.files import check_files
from release_kit.bids.validate.finding import SEVERITIES, Finding
from release_kit.bids.validate.identity import check_identity, decided_privacy
from release_kit.bids.validate.images import Looked, check_images, look_at_images
from release_kit.bids.validate.nested import named_only, nested_datasets, own_of_whole, seen_from_above, without_nested
from release_kit.bids.validate.reference import Verdict, reference_version, run_reference
from release_kit.bids.validate.report import RunCell, Unchecked, ValidationReport
from release_kit.bids.validate.stimuli import check_stimuli, read_stimuli
from release_kit.bids.validate.survey import DESCRIPTION, Survey, survey_dataset

WORKERS = 2
"""Reference validators at a time; each takes about 155 MB."""

OnEvent = Callable[[str], None]


def validate_dataset(
    folder: Path,
    *,
    content: bool | None = None,
    words: Iterable[str] = (),
    privacy: Privacy | None = None,
    allow: Sequence[Mapping[str, Any]] = (),
    on_event: OnEvent | None = None,
) -> ValidationReport:
    """Judge a dataset, each of its derivatives and the datasets inside it; nothing in it is written, loaded or sent.

    Args:
        folder: top folder of the dataset; a DataLad or git-annex clone with or without content, or plain files.
        content: True demands that all content is here, False opens no image, None looks at what is here.
        words: words that must appear nowhere (names in the lab); they are masked in the report.
        privacy: the study's decisions on identifying keys; None takes those of the recipe in the dataset, if any.
        allow: entries of ``allow`` of the study's recipe; their reasons explain warnings.
        on_event: called with one line for each stage.

    Returns:
        The report; ``ok`` is False when there is any error.

    Raises:
        ReleaseKitError: ``folder`` is no folder or cannot be listed, or the reference validator is not installed.
    """
    say, words = on_event or (lambda _: None), tuple(words)
    version = reference_version()
    survey = survey_dataset(folder)
    given, privacy = privacy, decided_privacy(survey, privacy)
    judged, named = nested_datasets(survey)
    survey = without_nested(survey, judged)
    say(f"{len(survey.entries):,} files in {len(survey.parts)} datasets")
    with ThreadPoolExecutor(WORKERS) as pool:
        asked = [pool.submit(_ask, survey, part.path, headers_needed(part, content)) for part in survey.parts]
        say("own checks")
        looked, runs, own = own_checks(survey, content=content, words=words, privacy=privacy)
        say("reference validator")
        verdicts, said, aside = _answers(survey, asked)
    found = sorted({*own_of_whole(own, judged), *said, *named_only(named)}, key=lambda one: one.order)
    found = [replace(one, dataset=_dataset_of(survey, one.path)) for one in found]
    found = with_explanations(survey, privacy, found, allow)
    unchecked = [*aside, *not_looked_at(survey, read=content is not False)]
    inner = []
    for path in judged:
        say(f"the dataset inside it at {path}")
        report = validate_dataset(folder / path, content=content, words=words, privacy=given, on_event=say)
        inner.append(seen_from_above(report, path))
    return ValidationReport(
        name=_name(survey),
        facts=_facts(survey, runs) | ({"nested": {p: dict(r.facts) for p, r in zip(judged, inner, strict=True)}}
                                      if judged else {}),
        verdicts=(*verdicts, *(one for report in inner for one in report.verdicts)),
        validator_version=version,
        findings=tuple(sorted({*found, *(o for r in inner for o in r.findings)}, key=lambda one: one.order)),
        not_checked=tuple(_merged([*unchecked, *(one for report in inner for one in report.not_checked)])),
        runs=(*_cells(runs, looked, found), *(cell for report in inner for cell in report.runs)),
    )  # fmt: skip


def _ask(survey: Survey, part: str, headers: bool) -> Verdict:
    folder = survey.folder if part == "." else survey.folder / part
    return run_reference(folder.absolute(), part, headers=headers)


def own_checks(
    survey: Survey, *, content: bool | None = None, words: Iterable[str] = (), privacy: Privacy | None = None
) -> tuple[Looked, list[RunEvents], list[Finding]]:
    """Return what our own checks find, with the images and runs that they looked at; arguments as for the whole."""
    looked = look_at_images(survey, read=content is not False)
    stimuli = read_stimuli(survey)
    runs, broken = ([], []) if survey.is_derivative else read_runs(survey, looked)
    found = [
        *broken,
        *check_content(survey, content),
        *check_description(survey),
        *(() if survey.is_derivative else check_participants(survey, looked)),
        *check_images(survey, looked),
        *check_events(survey, runs, stimuli),
        *check_stimuli(survey, stimuli),
        *check_annotations(survey, runs, stimuli),
        *check_files(survey),
        *check_identity(survey, tuple(words), decided_privacy(survey, privacy)),
    ]
    return looked, runs, found


def _answers(survey: Survey, asked: list[Future]) -> tuple[list[Verdict], list[Finding], list[Unchecked]]:
    verdicts, found, aside = [], [], []
    for future in asked:
        verdict, set_aside = without_gaps(survey, future.result())
        verdicts.append(verdict)
        found += verdict.findings
        aside += set_aside
        if verdict.crash:
            found.append(finding("reference-crashed", verdict.dataset, verdict.crash))
    return verdicts, found, aside


def _dataset_of(survey: Survey, path: str) -> str:
    fitting = [part.path for part in survey.parts if path == part.path or path.startswith(f"{part.path}/")]
    return max(fitting, key=len, default=".")


def _merged(unchecked: list[Unchecked]) -> list[Unchecked]:
    by_what: dict[str, Unchecked] = {}
    for one in unchecked:
        known = by_what.get(one.what)
        examples = (*known.examples, *one.examples)[:5] if known else one.examples
        by_what[one.what] = Unchecked(what=one.what, n=one.n + (known.n if known else 0), examples=examples)
    return list(by_what.values())


def _name(survey: Survey) -> str:
    description = survey.json_of(DESCRIPTION)
    name = description.get("Name") if isinstance(description, dict) else None
    return str(name) if name else survey.folder.resolve().name


def _facts(survey: Survey, runs: list[RunEvents]) -> dict[str, Any]:
    raw = survey.parts[0]
    named = [image.entities for image in raw.images()]
    lengths = [run.lasts[0] for run in runs if run.lasts]
    return {
        "n_files": len(survey.entries),
        "size_bytes": sum(max(entry.size_bytes, 0) for entry in survey.entries),
        "n_subjects": len({entities["sub"] for entities in named if "sub" in entities}),
        "n_sessions": len({(entities.get("sub"), entities["ses"]) for entities in named if "ses" in entities}),
        "tasks": sorted({run.image.entities["task"] for run in runs}),
        "n_runs": len(runs),
        "n_runs_of_known_length": len(lengths),
        "recorded_s": round(sum(lengths), 3),
        "derivatives": [part.path for part in survey.parts[1:]],
    }


def _cells(runs: list[RunEvents], looked: Looked, found: list[Finding]) -> list[RunCell]:
    worst: dict[str, int] = {}
    for one in found:
        if one.source != "reference" or one.severity == SEVERITIES[0]:
            rank = SEVERITIES.index(one.severity)
            worst[one.path] = min(rank, worst.get(one.path, rank))
    cells = []
    for run in runs:
        entities, image = run.image.entities, run.image
        stem = image.path.removesuffix(image.extension)
        paths = [image.path, f"{stem}.json", *(table.path for table in run.tables)]
        ranks = [worst[path] for path in paths if path in worst]
        head = looked.heads.get(image.path)
        cells.append(
            RunCell(
                subject=entities.get("sub", image.path.split("/")[0].removeprefix("sub-")),
                session=entities.get("ses"),
                task=entities["task"],
                run=entities.get("run"),
                n_volumes=head.facts.n_volumes if head else None,
                duration_s=round(run.lasts[0], 3) if run.lasts else None,
                absent=image.absent,
                has_events=bool(run.tables),
                worst=SEVERITIES[min(ranks)] if ranks else None,
            )
        )
    return cells
