"""Every key of ``recipe.yaml``: its kind, its meaning, what holds without it.

The one place where the grammar stands: ``core.grammar.values`` reads by it, ``schema.py`` makes the JSON Schema of it,
and a test holds ``docs/formats/recipe.md`` against it. What keys say of one another is judged in ``references.py``.
"""

from collections.abc import Mapping
from dataclasses import replace

from release_kit.bids.recipe.codes import ALLOWABLE
from release_kit.bids.recipe.model import CLOCKS, READERS, RECORDING_KINDS, SCHEMA_VERSION
from release_kit.core.grammar.kinds import (
    LABEL,
    LABEL_WORDS,
    Flag,
    Free,
    Key,
    Many,
    Named,
    Number,
    Record,
    Text,
    Texts,
)

PLACEHOLDERS = ("subject", "source", "session", "task", "run", "name", "stimulus", "level", "annotator")
"""What file patterns may name in braces."""
_OF_RUN = ("subject", "source", "session", "task", "run", "name", "stimulus")
_OF_ANATOMY = ("subject", "source", "session")
_OF_ANNOTATION = ("session", "task", "run", "name", "stimulus", "level", "annotator")

_LEVEL = r"[a-z][a-z0-9_-]{0,39}"
_LEVEL_WORDS = "lower-case letters, digits, '_' and '-', a letter first"
_LANGUAGE = r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*"
_KEYS = r"[A-Za-z][A-Za-z0-9_]*"

_label = Text(pattern=LABEL, words=LABEL_WORDS)
_line = Text(one_line=True)
_language = Text(pattern=_LANGUAGE, words="a BCP 47 tag, as in 'ja' or 'en-GB'", stand_in="und")
_columns = Free(scalars=True)


def _need(kind, doc: str) -> Key:
    return Key(kind=kind, doc=doc, required=True)


DATASET: Mapping[str, Key] = {
    "name": _need(_line, "Name of the dataset."),
    "version": _need(
        Text(pattern=r"[0-9A-Za-z][0-9A-Za-z.+-]{0,39}", words="like '1.0.0'"), "Version; a tag when it is saved."
    ),
    "authors": _need(Texts(least=1), "Authors, in the order of the citation."),
    "license": _need(
        _line, "Licence of the dataset: an SPDX identifier (CC0-1.0), or LicenseRef- and a name for terms of your own."
    ),
    "description": _need(Text(), "What was done, in a few sentences; the first part of the README."),
    "acknowledgements": Key(kind=Text(), doc="Whom the authors thank."),
    "how_to_acknowledge": Key(kind=Text(), doc="How users should cite."),
    "funding": Key(kind=Texts(), doc="Grants.", default=()),
    "ethics_approvals": Key(kind=Texts(), doc="Committees and numbers.", default=()),
    "references": Key(kind=Texts(), doc="Papers and links.", default=()),
    "keywords": Key(kind=Texts(), doc="Keywords.", default=()),
    "doi": Key(kind=Text(pattern=r"(doi:)?10\.[0-9]{4,9}/\S+", words="like '10.18112/x'"), doc="DOI of this version."),
    "contact": Key(kind=_line, doc="Who answers questions."),
    "usage_notes": Key(kind=Text(), doc="What users must know or must not do."),
}

SUBJECT: Mapping[str, Key] = {
    "source": _need(_line, "Name of the subject in the lab; fills `{source}` and never enters the dataset."),
}

TASK: Mapping[str, Key] = {
    "name": _need(_line, "TaskName of the sidecars."),
    "description": Key(kind=Text(), doc="TaskDescription."),
    "instructions": Key(kind=Text(), doc="Instructions given to the subject."),
}

STIMULUS: Mapping[str, Key] = {
    "title": _need(_line, "Title."),
    "duration_s": _need(Number(above=0), "Length of the whole stimulus in seconds."),
    "language": Key(kind=_language, doc="Spoken language."),
    "source": Key(kind=_line, doc="Where it can be had (a DVD with its EAN, a URL)."),
    "license": Key(kind=_line, doc="Licence of the stimulus."),
    "copyright": Key(kind=_line, doc="Who holds the rights."),
    "url": Key(kind=_line, doc="Page about it."),
    "file": Key(kind=Text(placeholders=("stimulus",)), doc="Media file to take along; media stay outside without it."),
    "columns": Key(kind=_columns, doc="Further columns of `stimuli.tsv` (series, episode …).", default={}),
}

_RECORDING = {
    "kind": Key(kind=Text(choices=RECORDING_KINDS), doc="What the file or folder is.", default="nifti"),
    "options": Key(
        kind=Free(),
        doc="mat: variable, mask, mask_variable, order; dicom: series (number or name).",
        default={},
    ),
}


def _by_subject(names: tuple[str, ...]) -> Key:
    """How the recording of some subjects differs from that of the others; ``names`` may stand in its pattern."""
    other = "as for the others without it"
    return Key(
        kind=Named(
            value=Record(
                keys={
                    "pattern": Key(kind=Text(placeholders=names), doc=f"Path of the file or folder; {other}."),
                    "kind": Key(kind=Text(choices=RECORDING_KINDS), doc=f"What it is; {other}."),
                    "options": Key(kind=Free(), doc=f"As above; {other}, where the kind is the same."),
                }
            )
        ),
        doc="Subject label → its recording, where it came in another form than those of the others.",
        default={},
    )


_RUN_DEFAULTS: Mapping[str, Key] = {
    "pattern": Key(kind=Text(placeholders=_OF_RUN), doc="Path of the file, with names in braces; `*` and `?` match."),
    **_RECORDING,
    "tr_s": Key(kind=Number(above=0), doc="Seconds from volume to volume."),
    "dummy_scans": Key(
        kind=Number(least=0, whole=True), doc="Volumes at the start that are dropped on conversion.", default=0
    ),
    "session": Key(kind=_label, doc="Session label."),
    "suffix": Key(kind=Text(choices=("bold", "cbv", "sbref")), doc="Suffix of the file name.", default="bold"),
    "subjects": _by_subject(_OF_RUN),
}

RECORDINGS: Mapping[str, Key] = {
    **_RUN_DEFAULTS,
    "overlap_s": Key(
        kind=Number(least=0), doc="`shows.overlap_s` of every run but the first of its stimulus.", default=0
    ),
    "onset_s": Key(kind=Number(), doc="`shows.onset_s` of every run.", default=0),
}

SHOWS: Mapping[str, Key] = {
    "stimulus": _need(_label, "Label of the stimulus."),
    "start_s": Key(
        kind=Number(least=0),
        doc="Stimulus time of the first frame; without it where the run before ended, less the overlap (0 at first).",
    ),
    "duration_s": _need(Number(above=0), "Seconds of the stimulus that are shown."),
    "onset_s": Key(kind=Number(), doc="Run time of the first frame, counted from the first volume that is kept."),
    "overlap_s": Key(kind=Number(least=0), doc="The first seconds, which the run before showed already."),
}

RUN: Mapping[str, Key] = {
    "task": _need(_label, "Label of the task."),
    "run": _need(Number(least=0, whole=True), "Number of the run."),
    "shows": Key(kind=Record(keys=SHOWS), doc="The span of a stimulus; nothing is shown without it."),
    **{name: replace(key, default=None) for name, key in _RUN_DEFAULTS.items()},
    "sidecar": Key(kind=Free(), doc="Facts for the sidecar of this run.", default={}),
    "name": Key(kind=_line, doc="How the lab's files name the run, for `{name}` in patterns; else `<task>_run-<nn>`."),
    "missing": Key(kind=Free(texts=True), doc="Subject label → why it has no such run.", default={}),
}

ANATOMY: Mapping[str, Key] = {
    "suffix": _need(_label, "Suffix of the file name (T1w, T2w …)."),
    "pattern": _need(Text(placeholders=_OF_ANATOMY), "Path of the file, with names in braces; `*` and `?` match."),
    **_RECORDING,
    "session": Key(kind=_label, doc="Session label."),
    "deface": Key(kind=Flag(), doc="Remove the face.", default=True),
    "sidecar": Key(kind=Free(), doc="Facts for the sidecar of this image.", default={}),
    "missing": Key(kind=Free(texts=True), doc="Subject label → why it has no such image.", default={}),
    "subjects": _by_subject(_OF_ANATOMY),
}

LEVEL: Mapping[str, Key] = {
    "description": _need(Text(), "What annotators wrote at this level."),
    "granularity": Key(kind=_line, doc="How fine it is (a second, a scene …)."),
}

ANNOTATION: Mapping[str, Key] = {
    "id": _need(_label, "`annot-<id>` of the dataset."),
    "level": _need(Text(pattern=_LEVEL, words=_LEVEL_WORDS), "Level: of the vocabulary, or declared in `levels`."),
    "annotator": _need(Text(pattern=r"[A-Za-z0-9_-]+", words="letters, digits, '_', '-'"), "Pseudonym, or a tool."),
    "language": _need(_language, "Language of the text."),
    "reader": _need(Text(choices=READERS), "Form of the files."),
    "pattern": _need(Text(placeholders=_OF_ANNOTATION), "Path of the files, with names in braces."),
    "clock": Key(
        kind=Text(choices=CLOCKS),
        doc="stimulus: times of the stimulus, a file a stimulus; run: times of the run, a file a run.",
        default="stimulus",
    ),
    "translated_from": Key(kind=_label, doc="Id of the annotation that this one is a translation of."),
    "tool": Key(kind=_line, doc="Program that made or translated it."),
    "encoding": Key(kind=_line, doc="Encoding of the text; found out without it."),
    "options": Key(kind=Free(), doc="Options of the reader.", default={}),
    "missing": Key(
        kind=Free(texts=True),
        doc="Stimulus label, or `<task>_run-<n>` (`ses-<label>_` before it for one session), → why there is no file.",
        default={},
    ),
}

DERIVATIVE: Mapping[str, Key] = {
    "name": _need(_label, "Name of the folder below `derivatives`."),
    "description": _need(Text(), "What was done to the data."),
    "pattern": _need(Text(placeholders=_OF_RUN), "Path of the file of a run, with names in braces."),
    "kind": Key(kind=Text(choices=RECORDING_KINDS), doc="What the file is.", default="mat"),
    "options": _RECORDING["options"],
    "columns": Key(kind=Free(), doc="Further facts.", default={}),
    "missing": Key(
        kind=Free(texts=True),
        doc="Subject label, `<task>_run-<n>` or `sub-<label>_<task>_run-<n>` (with `ses-<label>_` as above) → why "
        "there is no such file.",
        default={},
    ),
}

PRIVACY: Mapping[str, Key] = {
    "scrub": Key(kind=Texts(), doc="Sidecar keys to remove beyond the built-in list.", default=()),
    "keep": Key(kind=Texts(), doc="Keys of the built-in list to keep.", default=()),
    "shift_key": Key(kind=_line, doc="File with the secret of the date shifts; outside the dataset."),
    "words": Key(
        kind=Texts(),
        doc="Words that must appear nowhere; source names and their parts are always among them.",
        default=(),
    ),
    "ordinary": Key(
        kind=Texts(), doc="Parts of source names that are ordinary words here (`rose`); not searched for.", default=()
    ),
}

ALLOW: Mapping[str, Key] = {
    "code": _need(Text(choices=ALLOWABLE), "Code of the problem, as `bids check` prints it."),
    "where": Key(kind=_line, doc="Part of the place that the problem names; everywhere without it."),
    "reason": _need(_line, "Why it is right as it is."),
}

RECIPE = Record(
    keys={
        "schema_version": _need(Number(least=SCHEMA_VERSION, whole=True), f"{SCHEMA_VERSION}"),
        "dataset": _need(Record(keys=DATASET), "What the dataset says of itself."),
        "sources": Key(
            kind=_line, doc="Folder of recordings and annotations, relative to the recipe's; its own if absent."
        ),
        "subjects": _need(
            Named(value=Record(keys=SUBJECT, others=_columns), least=1),
            "Pseudonym → `source` and columns of `participants.tsv`; or `{from: FILE}`, a TSV outside the dataset.",
        ),
        "tasks": _need(Named(value=Record(keys=TASK), least=1), "Label → what its sidecars say."),
        "stimuli": Key(kind=Named(value=Record(keys=STIMULUS)), doc="Label → film or episode.", default={}),
        "recordings": Key(
            kind=Record(keys=RECORDINGS), doc="What holds for every run that does not say otherwise.", filled=True
        ),
        "runs": _need(Many(record=Record(keys=RUN), least=1), "Every functional run, once for all subjects."),
        "anatomy": Key(kind=Many(record=Record(keys=ANATOMY)), doc="Anatomical images.", default=()),
        "levels": Key(
            kind=Named(value=Record(keys=LEVEL), pattern=_LEVEL, words=_LEVEL_WORDS),
            doc="Levels of annotation beyond the vocabulary.",
            default={},
        ),
        "annotations": Key(kind=Many(record=Record(keys=ANNOTATION)), doc="Sources of annotations.", default=()),
        "derivatives": Key(kind=Many(record=Record(keys=DERIVATIVE)), doc="Preprocessed responses.", default=()),
        "sidecars": Key(
            kind=Named(value=Free(), pattern=_KEYS, words="a suffix, as in bold"),
            doc="Suffix → facts that headers do not know.",
            default={},
        ),
        "allow": Key(kind=Many(record=Record(keys=ALLOW)), doc="Known problems that do not refuse.", default=()),
        "privacy": Key(kind=Record(keys=PRIVACY), doc="What must not leave the lab.", filled=True),
    }
)
"""The whole file."""
