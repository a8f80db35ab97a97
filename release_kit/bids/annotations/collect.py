"""Every annotation of a study as one table, or everything that is wrong with its files at once.

Owns which rows of two runs are the same annotation (the spell that a part repeats from the part before it). Which
files there are is the recipe's to say.
"""

import pyarrow as pa

from release_kit.bids.annotations.problems import AnnotationError, AnnotationProblem
from release_kit.bids.annotations.read import merge_sources, read_rows, reader_options
from release_kit.bids.annotations.table import Row, annotation_table
from release_kit.bids.recipe.model import AnnotationSource, Recipe
from release_kit.core.errors import ReleaseKitError


def collect_annotations(recipe: Recipe) -> pa.Table:
    """Return the table of every annotation that the recipe names.

    Raises:
        AnnotationError: the problems of all files together.
        ReleaseKitError: one problem that concerns no single line.
    """
    rows: list[Row] = []
    problems: list[AnnotationProblem] = []
    for source in recipe.annotations:
        try:
            rows += source_rows(recipe, source)
        except AnnotationError as error:
            problems += error.problems
        except ReleaseKitError as error:
            problems.append(AnnotationProblem(path=error.where or f"annotations.{source.id}", what=error.what))
    if problems:
        raise AnnotationError(problems)
    return annotation_table(rows)


def source_rows(recipe: Recipe, source: AnnotationSource) -> list[Row]:
    """Return the rows of one source over all its files, equal steps joined when the source asks for it.

    A row that a part repeats word for word from the part before it is left out; what differs there, and a row that
    stands twice in one file, stays for the quality report.

    Raises:
        AnnotationError: the problems of all its files together.
    """
    from release_kit.bids.recipe.read import annotation_files

    options = reader_options(source)
    rows: list[Row] = []
    seen: set[Row] = set()
    problems: list[AnnotationProblem] = []
    for file in annotation_files(recipe, source):
        try:
            found = read_rows(file.path, source, file.stimulus, file.run)
            rows += [row for row in found if row not in seen]
            seen.update(found)
        except AnnotationError as error:
            problems += error.problems
    if problems:
        raise AnnotationError(problems)
    return merge_sources(rows) if getattr(options, "merge", False) else rows
