"""What a path of a dataset is about: its meaning, its subject, its level of annotation; and what git stores of it.

Pure functions on names. ``.gitattributes`` (which files go to the annex, and by which digest) is written from here.
"""

import re
from collections.abc import Mapping

ATTRIBUTES_FILE = ".gitattributes"
MANIFEST_FILE = "code/release_kit/manifest.json"
SIGNATURE_FILE = "code/release_kit/manifest.sigstore.json"
CHANGES_FILE = "CHANGES"
CONFIG_FILE = ".datalad/config"
MEANINGS = ("metadata", "recordings", "annotations", "derivatives")
"""The order of the commits of a version; each is one of these."""

ATTRIBUTE_LINES = (
    "* annex.backend=SHA256E",
    "* -text",
    "* annex.largefiles=anything",
    "*.json annex.largefiles=largerthan=1mb",
    "*.tsv annex.largefiles=largerthan=1mb",
    "*.csv annex.largefiles=largerthan=1mb",
    "*.txt annex.largefiles=largerthan=1mb",
    "*.md annex.largefiles=largerthan=1mb",
    "*.srt annex.largefiles=largerthan=1mb",
    "*.vtt annex.largefiles=largerthan=1mb",
    "*.eaf annex.largefiles=largerthan=1mb",
    "*.TextGrid annex.largefiles=largerthan=1mb",
    "*.bval annex.largefiles=nothing",
    "*.bvec annex.largefiles=nothing",
    "*.cff annex.largefiles=nothing",
    "*.yaml annex.largefiles=nothing",
    "CHANGES annex.largefiles=nothing",
    "LICENSE annex.largefiles=nothing",
    "README* annex.largefiles=nothing",
    ".bidsignore annex.largefiles=nothing",
    "dataset_description.json annex.largefiles=nothing",
    f"{MANIFEST_FILE} annex.largefiles=nothing",
    f"{SIGNATURE_FILE} annex.largefiles=nothing",
    ".datalad/** annex.largefiles=nothing",
    "**/.git* annex.largefiles=nothing",
)
"""Small text lies in git, where it can be read without a download; everything else in the annex. ``-text`` keeps line
ends as they are on every system; the last line keeps ``.gitattributes`` itself out of the annex."""

_SUBJECT = re.compile(r"(?:^|/)sub-([0-9A-Za-z]+)(?=[/_.])")
_ANNOTATION_ID = re.compile(r"(?:^|_)(?:annot|desc)-([0-9A-Za-z]+)(?=[_.])")
_OF_GIT = re.compile(r"(?:^|/)\.git[^/]*$|^\.datalad/")


def meaning(path: str) -> str:
    """Return which of ``MEANINGS`` a file has."""
    if path.startswith(("stimuli/", "derivatives/annotations/", "sourcedata/annotations/")):
        return "annotations"
    if path.startswith("derivatives/"):
        return "derivatives"
    if re.search(r"_events\.(tsv|json)\Z", path):
        return "annotations"
    if path.startswith(("sub-", "sourcedata/")):
        return "recordings"
    return "metadata"


def subject_of(path: str) -> str | None:
    """Return the label of the subject that a file belongs to, or None."""
    found = _SUBJECT.search(path)
    return found[1] if found else None


def level_of(path: str, levels: Mapping[str, str]) -> str | None:
    """Return the level of annotation that a file holds, or None.

    Args:
        path: a file of the dataset.
        levels: annotation id → level, as ``stimuli/annotations.tsv`` says.
    """
    folder, _, name = path.rpartition("/")
    if folder == "stimuli/annotations":
        return name.partition(".")[0]
    if folder in ("stimuli", "derivatives/annotations") and (found := _ANNOTATION_ID.search(name)):
        return levels.get(found[1])
    return None


def is_of_git(path: str) -> bool:
    """Return whether a file only serves git and DataLad, so that a plain copy of the dataset may lack it."""
    return bool(_OF_GIT.search(path))


def attributes_text(present: str) -> str:
    """Return ``.gitattributes`` with the lines that are needed, as one block after those of others.

    The whole block, because the last line that matches a file wins: a part of it would undo ``**/.git*`` of DataLad.

    Args:
        present: what the file holds now, or an empty text.
    """
    lines = present.splitlines()
    if set(ATTRIBUTE_LINES) <= set(lines):
        return present
    return "\n".join([*(line for line in lines if line not in ATTRIBUTE_LINES), *ATTRIBUTE_LINES]) + "\n"
