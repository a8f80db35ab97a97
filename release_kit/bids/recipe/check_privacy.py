"""Whether what a recipe publishes tells who somebody is: its texts and facts, and annotation files, which travel too.

The same search as the last look over the finished dataset (``sidecars/leak_words.py``), before hours of conversion
instead of after them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from release_kit.bids.recipe.model import Recipe
from release_kit.bids.recipe.paths import annotation_names, annotation_units, source_matches
from release_kit.bids.recipe.problems import Problem, problem
from release_kit.bids.recipe.pseudonyms import secret_words
from release_kit.core.errors import ReleaseKitError, StudyError

_PRIVATE = ("folder", "sources", "privacy")
_CHUNK = 1 << 20


def check_privacy(recipe: Recipe) -> Iterator[Problem]:
    """Yield where a source name, or a word of ``privacy.words``, stands in something that will be published."""
    from release_kit.bids.sidecars.leak_parts import NamePart
    from release_kit.bids.sidecars.leak_words import Hit, WordFinder, masked

    def told(hit: Hit, step: str) -> tuple[str, str]:
        if not isinstance(hit.word, NamePart):
            return masked(hit.word), step
        step += "; if it is an ordinary word here, put it into `privacy.ordinary`"
        return f"{masked(hit.word)}, a part of a name in the lab", step

    finder = WordFinder(secret_words(recipe))
    for key, text in _texts(recipe):
        for hit in finder.search_text(text):
            what, step = told(hit, "write it otherwise; this text is part of the dataset")
            yield problem("identifying", f"holds {what}, which must appear nowhere", key, step)
    yield from _facts(recipe)
    for path in _annotation_files(recipe):
        for hit in finder.search_text(path.relative_to(recipe.root).as_posix()):
            what, step = told(hit, "rename the file; its name is kept under sourcedata/")
            yield problem("identifying", f"its name holds {what}", str(path), step)
        for hit in finder.search(_chunks(path)):
            what, step = told(hit, "mend the text; it is published as it is")
            yield problem("identifying", f"holds {what}", f"{path}:{hit.line}", step)


def _facts(recipe: Recipe) -> Iterator[Problem]:
    """Facts for sidecars that would be scrubbed there, but would still stand in the published recipe."""
    from release_kit.bids.sidecars.privacy import identifying, scrub_reasons

    try:
        reasons = scrub_reasons(recipe.privacy)
    except StudyError as error:
        yield problem("recipe-value", error.what, "privacy", error.next_step or "")
        return
    kept = frozenset(key.lower() for key in recipe.privacy.keep)
    given: dict[str, Mapping[str, Any]] = {f"sidecars.{suffix}": facts for suffix, facts in recipe.sidecars.items()}
    given |= {f"runs[{index}].sidecar": run.sidecar for index, run in enumerate(recipe.runs)}
    given |= {f"anatomy[{index}].sidecar": image.sidecar for index, image in enumerate(recipe.anatomy)}
    given |= {f"derivatives[{index}].columns": one.columns for index, one in enumerate(recipe.derivatives)}
    for key, facts in given.items():
        for dotted, why in identifying(facts, reasons, kept):
            step = "take it out, since the recipe is published too; or name the key in `privacy.keep`"
            yield problem("identifying", f"must not leave the lab: {why}", f"{key}.{dotted}", step)


def _texts(recipe: Recipe) -> Iterator[tuple[str, str]]:
    for field in fields(recipe):
        if field.name == "subjects":
            for subject in recipe.subjects:
                yield f"subjects.{subject.label}", f"sub-{subject.label}"
                yield from _inside(f"subjects.{subject.label}", subject.columns)
        elif field.name not in _PRIVATE:
            yield from _inside(field.name, getattr(recipe, field.name))


def _inside(key: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _inside(f"{key}.{name}", item)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _inside(f"{key}[{index}]", item)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _inside(f"{key}.{field.name}", getattr(value, field.name))


def _annotation_files(recipe: Recipe) -> list[Path]:
    found: set[Path] = set()
    for source in recipe.annotations:
        for stimulus, run in annotation_units(recipe, source):
            try:
                found.update(source_matches(recipe, source.pattern, **annotation_names(source, stimulus.label, run)))
            except ReleaseKitError:
                continue
    return sorted(path for path in found if path.is_file())


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        with open(path, "rb") as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk
    except OSError:
        return
