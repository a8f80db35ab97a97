"""Every name that the stimulus proposal gives: folders, files, entities and columns, and nothing else.

BIDS Extension Proposal 044 ("Stim-BIDS", pull request 2022 of bids-specification) as of the draft under community
review of 2026-11-02 to 2026-11-13. It is not part of BIDS 1.11; when its names change, this module changes.
"""

DRAFT_DATE = "2026-11-02"
"""First day of the review of the draft that these names follow."""

FOLDER = "stimuli"
STIMULI_TABLE = "stimuli/stimuli.tsv"
STIMULI_SIDECAR = "stimuli/stimuli.json"
ANNOTATIONS_TABLE = "stimuli/annotations.tsv"
ANNOTATIONS_SIDECAR = "stimuli/annotations.json"

STIMULUS_ID = "stimulus_id"
"""Column of the table of stimuli; ``EVENT_STIMULUS_ID`` is the same value in events files."""
EVENT_STIMULUS_ID = "stim_id"
ANNOTATION_ID = "annot_id"
STIMULUS_COLUMNS = (STIMULUS_ID, "type", "URL", "license", "copyright", "description", "present")
"""Columns of ``stimuli.tsv`` that the draft defines, in its order."""
ANNOTATION_COLUMNS = (ANNOTATION_ID, "description")

MEDIA = {
    "audio": (".wav", ".mp3", ".aac", ".ogg"),
    "image": (".jpg", ".png", ".svg", ".webp"),
    "video": (".mp4", ".avi", ".mkv", ".webm"),
    "audiovideo": (".mp4", ".avi", ".mkv", ".webm"),
}
"""Type of a stimulus, which is also the suffix of its file → extensions that the draft lists."""


def stimulus_id(label: str) -> str:
    """Return the identifier of a stimulus in every table of a dataset: ``stim-<label>``."""
    return f"stim-{label}"


def stimulus_label(identifier: str) -> str:
    """Return the label of an identifier; the inverse of ``stimulus_id``, and forgiving about a bare label."""
    return identifier.removeprefix("stim-")


def media_path(label: str, kind: str, extension: str) -> str:
    """Return where the media file of a stimulus lies: ``stimuli/stim-<label>_<kind><extension>``."""
    return f"{FOLDER}/stim-{label}_{kind}{extension}"


def annotation_path(label: str, annotation: str, extension: str = ".tsv") -> str:
    """Return the path of one annotation of one stimulus: ``stimuli/stim-<label>_annot-<id>_events.tsv``."""
    return f"{FOLDER}/stim-{label}_annot-{annotation}_events{extension}"


def level_table_path(level: str) -> str:
    """Return the path of the Parquet table of one level, an addition of ours to the draft's folder."""
    return f"{FOLDER}/annotations/{level}.parquet"
