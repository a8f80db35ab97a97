"""``README.md`` of a dataset, from the recipe: what was done, to whom, what was shown, who annotated it, how to use it.

Tables: runs with the spans of the stimuli they show, and annotations with levels and annotators. Nothing that the
recipe does not say is written.
"""

from collections.abc import Iterable, Iterator

from release_kit.bids.recipe.model import AnnotationSource, Recipe, Run
from release_kit.core.wording import counted


def readme(recipe: Recipe) -> bytes:
    """Return the bytes of the README."""
    parts = [part for part in _parts(recipe) if part]
    return ("\n\n".join(parts) + "\n").encode("utf-8")


def _parts(recipe: Recipe) -> Iterator[str]:
    facts = recipe.dataset
    yield f"# {facts.name}"
    yield facts.description.strip()
    yield _overview(recipe)
    yield _runs(recipe)
    yield _annotations(recipe)
    yield _missing(recipe)
    yield _layout(recipe)
    yield _section("Use", facts.usage_notes)
    yield _section("Ethics", "\n".join(f"- {one}" for one in facts.ethics_approvals))
    yield _section("Funding", "\n".join(f"- {one}" for one in facts.funding))
    yield _section("Acknowledgements", facts.acknowledgements)
    yield _section("Citation", facts.how_to_acknowledge)
    yield _section("References", "\n".join(f"- {one}" for one in facts.references))
    yield _section("Licence and contact", "\n\n".join(filter(None, [f"Licence: {facts.license}", facts.contact])))


def _section(title: str, text: str | None) -> str:
    return f"## {title}\n\n{text.strip()}" if text and text.strip() else ""


def _overview(recipe: Recipe) -> str:
    counts = sorted(set(_runs_of_people(recipe)))
    runs = counted(counts[0], "run") if len(counts) == 1 else f"{counts[0]} to {counted(counts[-1], 'run')}"
    text = f"{counted(len(recipe.subjects), 'participant')}, {runs} each"
    if seconds := _seconds_shown(recipe):
        text += f", {_hours(seconds)} of stimuli"
    if recipe.annotations:
        levels = sorted({source.level for source in recipe.annotations})
        text += f"; annotated at {counted(len(levels), 'level')} ({', '.join(levels)})"
        text += _by_whom(recipe)
    return text + "."


def _runs_of_people(recipe: Recipe) -> list[int]:
    """Return how many recordings each participant has; a reference volume is no recording of its own."""
    runs = [run for run in recipe.runs if run.suffix != "sbref"]
    return [sum(subject.label not in run.missing for run in runs) for subject in recipe.subjects] or [len(runs)]


def _seconds_shown(recipe: Recipe) -> float:
    """Return how many seconds of all stimuli are shown, each counted once however often it is shown."""
    spans: dict[str, list[tuple[float, float]]] = {}
    for run in recipe.runs:
        if run.shows:
            spans.setdefault(run.shows.stimulus, []).append((run.shows.start_s, run.shows.end_s))
    total = 0.0
    for of_stimulus in spans.values():
        end = 0.0
        for begin, stop in sorted(of_stimulus):
            total += max(stop - max(begin, end), 0.0)
            end = max(end, stop)
    return total


def _by_whom(recipe: Recipe) -> str:
    """Say how many people annotated, where the recipe knows it: a file may hold several without naming them."""
    people = {source.annotator for source in recipe.annotations if source.tool is None and not _is_split(source)}
    split = [source for source in recipe.annotations if _is_split(source)]
    named = [source.options.get("annotators") for source in split]
    if not all(named):
        return " by several annotators"
    people |= {str(name) for names in named for name in names}
    return f" by {counted(len(people), 'annotator')}" if people else ""


def _is_split(source: AnnotationSource) -> bool:
    """Return whether one file holds several annotators: only reading it tells how many."""
    return bool(source.options.get("split_annotators"))


def _hours(seconds: float) -> str:
    return (
        f"{seconds / 3600:.2f} h"
        if seconds >= 3600
        else f"{seconds / 60:.1f} min"
        if seconds >= 60
        else f"{seconds:g} s"
    )


def _runs(recipe: Recipe) -> str:
    rows = [
        (
            _task(recipe, run) + _kind(run),
            run.session or "",
            str(run.run),
            f"{run.tr_s:g}",
            *_shown(recipe, run),
            str(_n_subjects(recipe, run)),
        )
        for run in recipe.runs
    ]
    header = ("task", "session", "run", "TR (s)", "stimulus", "from (s)", "to (s)", "repeated (s)", "participants")
    return "## Runs\n\n" + _table(header, rows)


def _task(recipe: Recipe, run: Run) -> str:
    return f"{run.task} ({recipe.tasks[run.task].name})"


def _kind(run: Run) -> str:
    """Tell what is no ordinary recording from the run that it belongs to."""
    return "" if run.suffix == "bold" else f", {run.suffix}"


def _shown(recipe: Recipe, run: Run) -> tuple[str, str, str, str]:
    if run.shows is None:
        return "", "", "", ""
    shows = run.shows
    return recipe.stimuli[shows.stimulus].title, f"{shows.start_s:g}", f"{shows.end_s:g}", f"{shows.overlap_s:g}"


def _n_subjects(recipe: Recipe, run: Run) -> int:
    return sum(subject.label not in run.missing for subject in recipe.subjects)


def _annotations(recipe: Recipe) -> str:
    if not recipe.annotations:
        return ""
    rows = [
        (source.id, source.level, _annotators(source), source.language, _origin(source))
        for source in recipe.annotations
    ]
    described = [
        f"- **{name}**: {level.description.strip()}"
        for name, level in sorted(recipe.levels.items())
        if name in {s.level for s in recipe.annotations}
    ]
    text = "## Annotations\n\n" + _table(("annotation", "level", "annotator", "language", "origin"), rows)
    return text + ("\n\n" + "\n".join(described) if described else "")


def _annotators(source: AnnotationSource) -> str:
    if not _is_split(source):
        return source.annotator
    names = source.options.get("annotators")
    return ", ".join(map(str, names)) if names else "one for each column of its files, see `stimuli/annotations.tsv`"


def _origin(source: AnnotationSource) -> str:
    words = [f"translated from {source.translated_from}"] if source.translated_from else []
    return ", ".join(words + ([f"with {source.tool}"] if source.tool else []))


def _missing(recipe: Recipe) -> str:
    lines = [
        f"- sub-{label}, task {run.task}, run {run.run}{_kind(run)}: {why}"
        for run in recipe.runs
        for label, why in sorted(run.missing.items())
    ]
    lines += [
        f"- sub-{label}, {image.suffix}: {why}"
        for image in recipe.anatomy
        for label, why in sorted(image.missing.items())
    ]
    lines += [
        f"- {name if '_' in name else f'sub-{name}'}, {derivative.name}: {why}"
        for derivative in recipe.derivatives
        for name, why in sorted(derivative.missing.items())
    ]
    return _section("What is missing", "\n".join(lines))


def _layout(recipe: Recipe) -> str:
    lines = ["- `sub-*/`: recordings, each with its sidecar and, where something was shown, its events"]
    if recipe.annotations:
        lines += [
            "- `stimuli/`: what was shown, and every annotation in stimulus time",
            "- `stimuli/annotations/<level>.parquet`: the same annotations, one table a level",
            "- `derivatives/annotations/`: the annotations in the time of each run",
            "- `sourcedata/annotations/`: the annotation files as they were handed in",
        ]
    lines += [f"- `derivatives/{one.name}/`: {one.description.strip()}" for one in recipe.derivatives]
    lines.append("- `code/release_kit/`: the recipe that made this dataset, and how complete the sidecars are")
    return _section("Where things are", "\n".join(lines))


def _table(header: Iterable[str], rows: list[tuple[str, ...]]) -> str:
    """Return a Markdown table without the columns that are empty in every row."""
    names = list(header)
    kept = [index for index in range(len(names)) if any(row[index] for row in rows)]
    lines = ["| " + " | ".join(names[i] for i in kept) + " |", "|" + "---|" * len(kept)]
    lines += ["| " + " | ".join(_cell(row[i]) for i in kept) + " |" for row in rows]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
