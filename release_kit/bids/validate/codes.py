"""Every code that our own checks can give, by family. ``docs/bids-validate.md`` lists the same codes (tested)."""

from release_kit.bids.validate.finding import ERROR, NOTE, WARNING, Code, Finding
from release_kit.core.errors import UsageError
from release_kit.core.records import nearest

FAMILIES = {
    "description": "Is the dataset described?",
    "participants": "Is everybody listed?",
    "images": "Are the images what their labels say?",
    "events": "Does anybody know what was shown when?",
    "stimuli": "Are stimuli and annotations consistent?",
    "annotations": "Do annotations at run time fit the runs?",
    "files": "Can everybody open the files, safely?",
    "identity": "Does anything identify a person?",
    "content": "Was everything there to be looked at?",
    "reference": "What does the reference validator say?",
}
"""Family → the question that it answers, in the order in which families are shown."""

_TABLE: tuple[tuple[str, str, str, str, str, str], ...] = (
    # description
    ("description-absent", "description", ERROR, "There is no dataset_description.json.",
     "No tool takes the folder for a dataset.", "write one with Name, BIDSVersion and License"),
    ("bids-version", "description", WARNING, "BIDSVersion is not the number of a release of the specification.",
     "Validators and readers cannot tell which rules hold and fall back to their newest.",
     "write the bare number, such as 1.9.0"),
    ("licence-absent", "description", ERROR, "dataset_description.json names no licence.",
     "Without one, nobody may use the data.", "set License (an SPDX name such as CC0-1.0)"),
    ("authors-absent", "description", WARNING, "dataset_description.json names no authors.",
     "The dataset cannot be cited.", "set Authors"),
    ("readme-absent", "description", WARNING, "There is no README, or it says next to nothing.",
     "Nobody learns what was recorded and how.", "write README.md"),
    ("changes-absent", "description", WARNING, "There is no CHANGES file.",
     "Users of an earlier version cannot tell what became different.", "write CHANGES, newest version first"),
    ("derivative-undescribed", "description", ERROR, "A folder of derivatives has no dataset_description.json.",
     "It is no dataset: readers skip it, no validator judges it, and nobody learns what made it.",
     "write dataset_description.json with DatasetType derivative, GeneratedBy and SourceDatasets"),
    ("bidsignore", "description", NOTE, "A .bidsignore hides files from the reference validator.",
     "What it names was not judged by the reference validator; our own checks look at it all the same.",
     "put what has no BIDS name into derivatives/, sourcedata/ or code/ instead"),
    ("nested-not-judged", "description", NOTE, "A dataset inside sourcedata/ was not judged.",
     "By the specification what lies there is nobody's business; whether it is sound was not looked at, except for "
     "what identifies a person.", "validate it by itself, or call the whole a study (DatasetType)"),
    # participants
    ("participants-absent", "participants", WARNING, "There is no participants.tsv.",
     "Age, sex and handedness of the participants are unknown.", "write participants.tsv and participants.json"),
    ("participant-unlisted", "participants", ERROR, "A subject's folder is not listed in participants.tsv.",
     "Readers that start from the table never see the subject.", "add the subject's row"),
    ("participant-without-data", "participants", WARNING, "participants.tsv lists a subject without a folder.",
     "Either data are missing, or the table names somebody who is not part of the dataset.",
     "remove the row, or say in the README why there are no data"),
    ("participant-twice", "participants", ERROR, "participants.tsv lists a subject more than once.",
     "Which row holds is chance.", "keep one row"),
    ("columns-undescribed", "participants", WARNING, "Columns of a table are described nowhere.",
     "Units and codes are guessed by whoever reads them.", "describe the columns in the JSON file beside the table"),
    ("cell-empty", "participants", WARNING, "A table has empty cells; a missing value is n/a.",
     "Readers shift columns or read an empty text.", "write n/a"),
    ("scans-absent", "participants", NOTE, "There is no scans.tsv.",
     "The order of the runs and their (shifted) times are unknown; it is optional.",
     "write scans.tsv for each subject"),
    ("session-in-task", "participants", WARNING, "A session is coded in the name of the task.",
     "The film becomes several tasks and the session none; what belongs together is not found together.",
     "give the session its own entity (ses-01) and the task its plain name"),
    ("sessions-absent", "participants", WARNING, "A subject has hours of recordings, but no session.",
     "Which runs were recorded on one day, and in which order, is unknown; days differ more than runs.",
     "give each visit its session (ses-01), or say in the README which runs were recorded together"),
    # images
    ("image-unreadable", "images", ERROR, "An image cannot be read as NIfTI.",
     "It is damaged, or something else under this name.", "restore the file from its source"),
    ("image-truncated", "images", ERROR, "An image holds less data than its header declares.",
     "A copy was interrupted or the disk was full; volumes at the end are missing.", "copy or convert it again"),
    ("content-under-two-labels", "images", ERROR, "The same image lies under two labels.",
     "One of the labels is wrong: somebody's run is missing and another one's counted twice.",
     "find out which label is right and convert the other run again"),
    ("header-differs", "images", WARNING, "Runs of one task differ in matrix, voxel size, orientation or TR.",
     "They cannot be stacked, and a mask of one does not fit the other; often a wrong series was exported.",
     "look at the runs named, and convert the right series or explain it in the README"),
    ("run-length-differs", "images", WARNING, "One run has another number of volumes than most subjects have for it.",
     "The same film takes the same time: a run stopped early, or a file lies under the wrong run.",
     "check the run against the log of the scanner"),
    ("tr-differs", "images", ERROR, "RepetitionTime of the sidecar is not that of the header.",
     "Every time in the run is off, by more with every volume.", "correct the one that is wrong"),
    # events
    ("events-absent", "events", WARNING, "A task run has no events.tsv.",
     "Nobody can tell when the stimulus started, nor which part of it was shown.",
     "write events.tsv with onset, duration and the position in the stimulus"),
    ("stimulus-position-unknown", "events", WARNING, "Events do not say which part of which stimulus was shown.",
     "Annotations of the stimulus cannot be put on the time of the run.",
     "add stim_id (or stim_file) and the position in the stimulus"),
    ("event-beyond-run", "events", ERROR, "An event lies outside the run.",
     "The run is shorter than its events say, or the events belong to another run.",
     "compare n_volumes x TR with the events, and correct the one that is wrong"),
    ("event-stimulus-unknown", "events", ERROR, "Events name a stimulus that stimuli.tsv does not list.",
     "Nobody learns what was shown.", "list the stimulus, or correct stim_id"),
    ("event-beyond-stimulus", "events", ERROR, "The part that a run shows does not lie within the stimulus.",
     "The position or the length of the stimulus is wrong.", "correct stim_start, stim_end or the stimulus' duration"),
    ("event-span", "events", ERROR, "Duration and stimulus span of an event contradict each other.",
     "Times of annotations are off within the run.", "correct duration, stim_start or stim_end"),
    # stimuli
    ("stimuli-unlisted", "stimuli", WARNING, "stimuli/ holds files, but no stimuli.tsv says what they are.",
     "Titles, licences and durations are unknown, and nothing can refer to a stimulus.",
     "write stimuli/stimuli.tsv with stimulus_id, description and duration"),
    ("stimuli-table", "stimuli", ERROR, "A table of stimuli or annotations cannot be read as one.",
     "What it describes cannot be used.", "write a tab-separated UTF-8 table with the columns named"),
    ("stimulus-twice", "stimuli", ERROR, "An id is listed more than once.", "Which row holds is chance.",
     "keep one row for each id"),
    ("stimulus-missing", "stimuli", ERROR, "A stimulus is declared as present, but its file is not there.",
     "Whoever wants to extract features finds nothing.", "add the file, or set present to false"),
    ("annotation-unlisted", "stimuli", ERROR, "An annotation file names what no table lists.",
     "Nobody knows who annotated what, in which language and how.", "list it in stimuli.tsv or annotations.tsv"),
    ("annotation-without-file", "stimuli", WARNING, "An annotation is listed, but there is no file of it.",
     "The dataset promises what it does not hold.", "add the files, or remove the row"),
    ("annotation-beyond-stimulus", "stimuli", ERROR, "An annotation lies outside its stimulus.",
     "It was made on another cut or with another clock, so its other times are doubtful too.",
     "correct the times, or the duration in stimuli.tsv"),
    ("annotation-row", "stimuli", ERROR, "A row of an annotation has no usable time.",
     "It belongs to no moment of the stimulus.", "give onset and duration in seconds; a duration is never negative"),
    ("annotation-order", "stimuli", WARNING, "Rows of an annotation are not in the order of time.",
     "Readers that go through the rows once miss some.", "sort the rows by onset"),
    ("annotation-same", "stimuli", WARNING, "Two annotations of one stimulus are the same, byte for byte.",
     "Two people do not write the same: one file was copied under another annotator or level.",
     "find out whose it is and replace the other"),
    # annotations
    ("annotation-undescribed", "annotations", ERROR, "A desc label of run-time annotations is not in descriptions.tsv.",
     "Nobody learns which annotator and level the label means.", "add the label to descriptions.tsv"),
    ("annotation-beyond-run", "annotations", ERROR, "A run-time annotation lies outside every run that it is for.",
     "Models would be fitted to seconds that were never recorded.", "cut the annotation to the run again"),
    ("annotation-without-run", "annotations", NOTE, "A run-time annotation is for a run of people who are not here.",
     "It cannot be held against the length of the run.", "get a participant who has the run, to judge it"),
    ("annotation-drift", "annotations", ERROR, "Run-time annotations are not where the stimulus position puts them.",
     "The annotation and the brain's response belong to different moments.",
     "cut the annotation to the run again, or correct stim_start in events.tsv"),
    ("annotation-unaligned", "annotations", WARNING, "Annotations are lines of text that no tool can align.",
     "No onset column, no annotator, no position in the stimulus: each user writes a reader and guesses.",
     "give them onset and duration under stimuli/, with annotator, level and language"),
    # files
    ("pickle", "files", ERROR, "A file is, or holds, a Python pickle.",
     "Loading it runs whatever code it holds; it was not opened here.",
     "save the numbers as TSV, NIfTI, npy without objects, or Parquet"),
    ("foreign-format", "files", WARNING, "A file needs one vendor's program to be opened.",
     "Readers of BIDS skip it, and it ages with the program.",
     "convert it to NIfTI, TSV or another open format, with a sidecar"),
    ("array-without-sidecar", "files", WARNING, "An array has no sidecar that says what its axes are.",
     "Units, order of rows and what made it are guessed.", "write a JSON file of the same name"),
    ("link-dangling", "files", ERROR, "A link leads nowhere, to a folder, or out of the dataset.",
     "No download can make it whole, and what lies behind it was not checked.", "restore the file, or remove the link"),
    ("file-unreadable", "files", ERROR, "A file cannot be read, or is not what its name says.",
     "It was not checked, so nothing is known of it.", "restore the file, or make it readable"),
    # identity
    ("identity-leak", "identity", ERROR, "Something that may identify a person, a place or a device is in the dataset.",
     "Once published it is public for ever, in the history too.",
     "remove it, or list the key under privacy.keep in the recipe"),
    ("identity-kept", "identity", NOTE, "The study decided to keep keys that may identify a place or a device.",
     "They were not searched for; the recipe in the dataset, or the one given, names them.",
     "look whether the decision still holds"),
    ("identity-not-checked", "identity", ERROR, "A file could not be searched for identifying data.",
     "What nobody can look into may hold anything; it must not be published unseen.",
     "convert it to an open format, or make it readable, and validate again"),
    # content
    ("content-absent", "content", NOTE, "Content of annexed files is not on this machine.",
     "These files could only be judged by their names.", "get the content and validate again: datalad get PATH"),
    ("content-demanded", "content", ERROR, "Content that should be there is not.",
     "The complete validation that was asked for is not possible.", "get the content: datalad get PATH"),
    ("dataset-not-installed", "content", NOTE, "A folder of derivatives is empty: a subdataset that was not fetched.",
     "Nothing in it was judged.", "datalad get -n PATH, and validate again"),
    # reference
    ("reference-crashed", "reference", ERROR, "The reference validator ended without a verdict.",
     "Whether the dataset follows the specification is not known; that is never taken for a yes.",
     "read its last words above; run it by hand on the same folder"),
)  # fmt: skip

CODES: dict[str, Code] = {
    row[0]: Code(name=row[0], family=row[1], severity=row[2], summary=row[3], why=row[4], next_step=row[5])
    for row in _TABLE
}


def finding(
    code: str,
    path: str,
    what: str,
    *,
    next_step: str | None = None,
    severity: str | None = None,
    row: int | None = None,
) -> Finding:
    """Return a finding of kind ``code``, with the code's own severity and next step unless others are given."""
    kind = CODES[code]
    return Finding(
        code=code,
        severity=severity or kind.severity,
        path=path,
        what=what,
        next_step=next_step or kind.next_step,
        family=kind.family,
        row=row,
    )


def explain(name: str) -> str:
    """Return what a code means, for ``validate --explain``.

    Raises:
        UsageError: there is no such code.
    """
    if name not in CODES:
        raise UsageError(f"no code {name!r}{nearest(name, list(CODES))}", where="--explain")
    code = CODES[name]
    return f"{code.name} ({code.severity}, {code.family})\n{code.summary}\n{code.why}\nNext step: {code.next_step}."
