"""The codes of what ``bids check`` can find: severity, meaning, and whether the authors may accept it.

A code never changes its meaning. The page of formats lists them; a test holds it against this table.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Code:
    """One kind of problem; ``allowable``: an entry of ``allow`` in the recipe may accept it, with a reason."""

    severity: str
    meaning: str
    allowable: bool = False


def _error(meaning: str, *, allowable: bool = False) -> Code:
    return Code(severity="error", meaning=meaning, allowable=allowable)


def _warning(meaning: str) -> Code:
    return Code(severity="warning", meaning=meaning, allowable=True)


READING: Mapping[str, Code] = {
    "recipe-value": _error("A key holds a value that it cannot have."),
    "missing-key": _error("A key that must be there is not."),
    "unknown-key": _error("A key that nobody knows; the nearest known one is named."),
    "label": _error("A label that cannot stand in a BIDS file name."),
    "unknown-label": _error("A label that nothing declares."),
    "duplicate": _error("Something that must be single stands twice."),
    "fill-in": _error("A draft still says FILL IN here."),
}
"""Found in the text of the recipe alone; without these there is no recipe to hold against the recordings."""

CHECKING: Mapping[str, Code] = {
    "span-outside": _error("A run shows more than its stimulus has."),
    "overlap": _error("A part does not begin where the part before it ended, less the declared overlap."),
    "gap": _warning("A stretch of a stimulus that no run shows."),
    "unused": _warning("A stimulus, task or default that nothing uses."),
    "sources-missing": _error("The folder of recordings and annotations is not there."),
    "file-missing": _error("A recording that the recipe promises is not there."),
    "file-surplus": _warning("A recording in the folders of the study that no run names."),
    "missing-but-there": _warning("Declared missing, and the file is there."),
    "two-files": _error("Two files for one run."),
    "two-runs": _error("Two runs for one file."),
    "same-content": _error("Two files with the same bytes under two labels.", allowable=True),
    "unreadable": _error("A recording that is truncated, damaged or no such image."),
    "not-a-series": _error("A run whose image is a single volume."),
    "tr": _error("The TR of the header is not the recipe's.", allowable=True),
    "tr-unknown": _warning("A header without a TR, or without its unit; the recipe's is taken."),
    "run-short": _error("A run that ends before the stimulus it shows.", allowable=True),
    "run-long": _warning("A run that goes on long after its stimulus."),
    "slice-times": _error("DICOM whose slice times do not fit into one TR of the recipe, or the number of slices."),
    "dummy-scans": _error("More dummy scans than volumes."),
    "length-differs": _warning("A run that has another number of volumes than the same run of the others."),
    "anatomy-differs": _warning("Matrix, voxel size or orientation of anatomical images that differ."),
    "geometry": _error("Matrix, voxel size or orientation of runs that differ inside the study.", allowable=True),
    "annotation-missing": _error("An annotation file that the recipe promises is not there."),
    "annotation-surplus": _warning("An annotation file beside the others that no source names."),
    "annotation-twice": _error("Two sources read the same file in the same way."),
    "annotation-unreadable": _error("An annotation file that its reader refuses."),
    "annotation-empty": _warning("An annotation file without a single entry."),
    "annotation-long": _error("Annotations that go on after the run or the stimulus has ended.", allowable=True),
    "identifying": _error(
        "A name of the lab, a word that must appear nowhere, or a scrubbed fact, in something that is published."
    ),
    "bids-name": _error("A file name that BIDS has no rule for."),
    "pseudonym": _warning("A pseudonym that is the name it hides."),
    "pattern": _error("A file pattern that cannot be filled in."),
}
"""Found by holding the recipe against itself and the files."""

CODES = {**READING, **CHECKING}
ALLOWABLE = tuple(name for name, code in CODES.items() if code.allowable)
