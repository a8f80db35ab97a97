"""Every key of ``encoding.yaml``: its kind, its meaning, what holds without it. ``read.py`` reads by it."""

from collections.abc import Mapping
from typing import Any

from release_kit.core.grammar.kinds import Flag, Free, Key, Many, Named, Number, Numbers, Record, Text, Texts
from release_kit.encoding.spec.model import DTYPES, KINDS, MODES, WEIGHTINGS

NAME = r"[a-z0-9][a-z0-9.-]{0,63}"
NAME_WORDS = "lower-case letters, digits, '-' and '.'"
_line = Text(one_line=True)
_share = Number(above=0)


def _need(kind: Any, doc: str) -> Key:
    return Key(kind=kind, doc=doc, required=True)


def _may(kind: Any, doc: str, default: Any = None) -> Key:
    return Key(kind=kind, doc=doc, default=default)


def _one_of(*choices: str) -> Text:
    return Text(choices=choices)


DATASET: Mapping[str, Key] = {
    "path": _need(_line, "Folder of the BIDS dataset."),
    "layout": _may(_one_of("bids", "ds005531"), "bids, or the layout in which ds005531 was published.", "bids"),
    "derivative": _may(_line, "Folder below derivatives/ with the responses; without it the raw recordings."),
    "kind": _may(_one_of("volume", "surface"), "Volumes (NIfTI) or surfaces (GIFTI).", "volume"),
    "space": _may(_line, "The `space` of the responses' file names."),
    "desc": _may(_line, "The `desc` of the responses' file names."),
    "mask": _may(_line, "Which voxels: a file of the dataset, `{subject}` in braces; without it those that change."),
}
SAMPLES: Mapping[str, Key] = {
    "drop_start_s": _may(Number(least=0), "Seconds at the start of each run that are not used.", 20.0),
    "drop_first_run_start": _may(Flag(), "Also in the run that shows a stimulus from its start.", True),
    "drop_overlap": _may(Flag(), "Leave out what a run repeats from the run before.", True),
    "test": _may(_one_of("last-run", "runs", "titles", "leave-one-title-out"), "What is held out.", "last-run"),
    "test_runs": _may(Texts(), "Names of held-out runs (test: runs).", ()),
    "test_titles": _may(Texts(), "Held-out titles (test: titles).", ()),
    "test_last": _may(Free(scalars=True), "Title: how many of its last runs are held out, where it is not 1.", {}),
    "leave_out": _may(Texts(), "Stimuli or runs that are not used.", ()),
    "repeats": _may(
        _one_of("mean", "each"), "Held-out runs that show the same: judged by their mean, or each.", "mean"
    ),
    "folds": _may(_one_of("title", "run"), "What stays together in a fold of cross-validation.", "title"),
    "n_folds": _may(Number(least=2, whole=True), "Number of folds; without it one a title, or a run."),
}
CLEAN: Mapping[str, Key] = {
    "detrend": _may(_one_of("median", "cosine", "none"), "Slow drifts of each run.", "median"),
    "window_s": _may(Number(above=0), "Width of the filter in seconds.", 120.0),
    "features": _may(
        _one_of("same", "median", "cosine", "none"),
        "What delayed features lose run by run: the same; what responses lost before they came here; nothing.",
        "same",
    ),
}
DELAYS: Mapping[str, Key] = {
    "kind": _may(_one_of("concatenate", "average"), "Side by side, or their mean.", "concatenate"),
    "seconds": _may(Numbers(number=Number(least=0), least=1), "Delays behind the stimulus.", (4.0, 6.0, 8.0)),
}
FEATURE: Mapping[str, Key] = {
    "level": _may(_line, "Level of the annotations."),
    "kind": _need(_one_of(*KINDS), "What makes features of it."),
    "model": _may(_line, "Folder of the model (transformers), or file of the word vectors."),
    "layers": _may(Numbers(number=Number(least=0, whole=True)), "Hidden states; 0 enters block 1; none: all.", ()),
    "pooling": _may(_one_of("mean", "last"), "Mean over the second's own tokens, or the last of them.", "mean"),
    "context_s": _may(Number(least=0), "Seconds of earlier text before the second's own.", 0.0),
    "language": _may(_line, "Language of the annotations; needed where a level has several."),
    "annotators": _may(Texts(), "Which annotators, their mean; `each`: each by itself; none: the mean of all.", ()),
    "missing": _may(_one_of("zero", "carry", "drop"), "A second that nobody annotated.", "zero"),
    "pca": _may(Number(least=1, whole=True), "Principal components, fitted on training samples."),
    "media": _may(_line, "Folder of frames or sounds of each stimulus."),
    "start_token": _may(Flag(), "Begin texts with the tokenizer's start token; it is not pooled.", True),
    "max_tokens": _may(Number(least=3, whole=True), "Tokens of one input; none: what the model can read."),
    "dtype": _may(_one_of(*DTYPES), "What the model calculates in.", "float32"),
    "device": _may(_line, "Where the model calculates: cpu, cuda, or another name that torch knows.", "cpu"),
    "batch_size": _may(Number(least=1, whole=True), "Inputs of one pass of the model.", 16),
    "min_count": _may(Number(least=1, whole=True), "Bag of words: training texts that a word stands in at least.", 2),
    "max_words": _may(Number(least=1, whole=True), "Bag of words: the most frequent ones are kept.", 5000),
    "weighting": _may(_one_of(*WEIGHTINGS), "Bag of words: counts, or counts times rarity.", "tf-idf"),
    "n_parameters": _may(Number(least=1, whole=True), "Size of the model; counted from its weights without it."),
}
ALPHAS: Mapping[str, Key] = {
    "from": _may(Number(), "Power of ten of the smallest.", 0.0),
    "to": _may(Number(), "Power of ten of the largest.", 8.0),
    "n": _may(Number(least=1, whole=True), "How many.", 17),
}
RIDGE: Mapping[str, Key] = {
    "alphas": _may(Record(keys=ALPHAS), "Penalties that are tried, evenly spaced powers of ten.", {}),
    "solver": _may(_one_of("auto", "primal", "dual"), "auto: whichever is cheaper.", "auto"),
    "score": _may(_one_of("correlation", "r2"), "What cross-validation maximises.", "correlation"),
    "precision": _may(_one_of("float32", "fast"), "fast: choice in low precision, fit in float32.", "float32"),
    "backend": _may(_one_of("own", "himalaya"), "Who calculates.", "own"),
    "device": _may(_one_of("auto", "cpu", "cuda"), "Where.", "auto"),
    "memory_gb": _may(Number(above=0), "How much memory a fit may take.", 4.0),
}
BAND: Mapping[str, Key] = {
    "features": _need(Texts(least=2), "Names of the features, one a band."),
    "n_iter": _may(Number(least=0, whole=True), "Random searches over the bands' shares; 0: one penalty for all.", 20),
    "unions": _may(_one_of("all", "unique", "none"), "Which unions are scored for the partition.", "all"),
}
COMPARISON: Mapping[str, Key] = {
    "name": _need(_line, "What is asked."),
    "a": _need(_line, "A feature."),
    "b": _need(_line, "The feature it is held against."),
}
STATISTICS: Mapping[str, Key] = {
    "permutations": _may(Number(least=0, whole=True), "Repetitions for each voxel; 0: no test.", 1000),
    "block_s": _may(Number(above=0), "Length of a block; longer than the autocorrelation.", 40.0),
    "null": _may(_one_of("block", "shift"), "Blocks change places, or runs are turned in a circle.", "block"),
    "across_runs": _may(Flag(), "Blocks change places over all held-out runs.", False),
    "fdr": _may(_one_of("bh", "by"), "Benjamini and Hochberg, or Benjamini and Yekutieli.", "bh"),
    "level": _may(_share, "Of significance.", 0.05),
    "bootstrap": _may(Number(least=0, whole=True), "Resamples for intervals, at least 10; 0: none.", 1000),
}
FLATMAP: Mapping[str, Key] = {
    "surface": _need(_line, "pycortex's name of the subject's surface."),
    "transform": _may(_line, "pycortex's name of the way from volumes to it; none: values of its own vertices."),
}
ANALYSIS = Record(
    keys={
        "schema_version": _need(Number(whole=True), "Version of this format."),
        "name": _need(_line, "Name of the analysis."),
        "description": _may(Text(), "What is asked, in a few sentences."),
        "dataset": _need(Record(keys=DATASET), "Recordings and annotations."),
        "subjects": _may(Texts(), "Labels of subjects; none: all.", ()),
        "samples": _may(Record(keys=SAMPLES), "Which volumes are used and held out.", {}),
        "clean": _may(Record(keys=CLEAN), "What is taken out of the responses.", {}),
        "delays": _may(Record(keys=DELAYS), "How much later than the stimulus the response comes.", {}),
        "features": _need(
            Named(value=Record(keys=FEATURE), pattern=NAME, words=NAME_WORDS, least=1), "Feature spaces by name."
        ),
        "ridge": _may(Record(keys=RIDGE), "The regression.", {}),
        "bands": _may(Named(value=Record(keys=BAND), pattern=NAME, words=NAME_WORDS), "Banded models by name.", {}),
        "compare": _may(Many(record=Record(keys=COMPARISON)), "Features held against each other.", ()),
        "statistics": _may(Record(keys=STATISTICS), "Tests and intervals.", {}),
        "flatmaps": _may(Named(value=Record(keys=FLATMAP)), "Flat surfaces of subjects by label, for pictures.", {}),
        "regions": _may(_line, "A label map (NIfTI, GIFTI) or a TSV of voxel and region."),
        "mode": _may(
            _one_of(*MODES),
            "corrected; paper: as the published code does it; both, and a table of what changes.",
            "corrected",
        ),
        "seed": _may(Number(least=0, whole=True), "Of everything that is drawn.", 0),
    }
)
