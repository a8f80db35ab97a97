"""Everything of a dataset that follows from annotations: copies of their sources, stimuli, run-time events.

The table and its files are made in ``annotations/``; this file gathers them and says where the sources lie.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from release_kit.bids.convert.contents import Content, collected, of_bytes, of_file
from release_kit.bids.convert.published import COPIES, published_pattern
from release_kit.bids.recipe.model import AnnotationSource, Recipe
from release_kit.bids.recipe.read import annotation_files

SOURCEDATA = "sourcedata"


def is_of_annotations(path: str) -> bool:
    """Return whether a file of the dataset follows from annotations, by its path."""
    folders = ("stimuli/", "derivatives/annotations/", f"{SOURCEDATA}/{COPIES}/")
    return path.startswith(folders) or path.split("/")[-1].endswith(("_events.tsv", "_events.json"))


def with_annotation_root(recipe: Recipe, out: Path) -> Recipe:
    """Return the recipe with annotations read from where they are.

    The recipe that a dataset carries names the copies inside the dataset, any other the files of the lab.
    """
    if recipe.folder.resolve().is_relative_to(out.resolve()):
        return replace(recipe, sources=out / SOURCEDATA)
    return recipe


def annotation_sources(recipe: Recipe) -> list[tuple[str, Path]]:
    """Return ``(path of the copy in the dataset, file)`` of every annotation file, each once, sorted."""
    found = {(copy, path) for source in recipe.annotations for copy, path in _copies(recipe, source)}
    return sorted(found)


def _copies(recipe: Recipe, source: AnnotationSource) -> Iterator[tuple[str, Path]]:
    for file in annotation_files(recipe, source):
        yield f"{SOURCEDATA}/{published_pattern(file.path.relative_to(recipe.root).as_posix())}", file.path


def media_sources(recipe: Recipe) -> list[tuple[str, Path]]:
    """Return ``(path in the dataset, file)`` of the media that the recipe takes along."""
    if all(stimulus.file is None for stimulus in recipe.stimuli.values()):
        return []
    from release_kit.bids.annotations.stimuli import stimulus_media

    return list(stimulus_media(recipe))


def annotation_outputs(recipe: Recipe) -> dict[str, Content]:
    """Return path → content of every file that follows from the annotations.

    Raises:
        AnnotationError: annotation files that cannot be read as what the recipe says; all of them at once.
    """
    if not recipe.annotations and not recipe.stimuli:
        return collected(_copied(recipe))
    from release_kit.bids.annotations.collect import collect_annotations

    table = collect_annotations(recipe)
    return collected([*_copied(recipe), *_made(recipe, table)])


def _copied(recipe: Recipe) -> Iterator[tuple[str, Content]]:
    for path, source in [*annotation_sources(recipe), *media_sources(recipe)]:
        yield path, of_file(source)


def _made(recipe: Recipe, table) -> Iterator[tuple[str, Content]]:
    from release_kit.bids.annotations.events import events_files
    from release_kit.bids.annotations.runs import run_derivative_files
    from release_kit.bids.annotations.stimuli import stimuli_files

    for maker in (stimuli_files, run_derivative_files, events_files):
        for path, data in maker(recipe, table):
            yield path, of_bytes(data)
