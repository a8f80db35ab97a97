"""Every code that ``check`` can give, by family. ``docs/checks.md`` lists the same codes (a test compares them)."""

from release_kit.core.errors import UsageError
from release_kit.core.records import nearest
from release_kit.release.check.problem import ERROR, NOTE, WARNING, Code, Problem

FAMILIES = (
    "grid", "payloads", "labels", "weights", "adapters", "results", "dataset", "foreign", "secrets", "licence",
    "release", "allow",
)  # fmt: skip
"""The order in which families are shown."""

_TABLE: tuple[tuple[str, str, str, str, str, str], ...] = (
    # grid
    ("cell-missing", "grid", ERROR, "A declared cell is not on disk and has no results.",
     "Readers take the declared grid for what was released; a hole that nobody names looks like a mistake of theirs.",
     "make the cell, or leave it out of the grid with `exclude` in study.yaml"),
    ("grid-empty", "grid", ERROR, "The study declares no cell at all.",
     "There is nothing that could be wrong, and nothing to release: an empty grid is not a good one.",
     "look at `include` and `exclude` in study.yaml; see: release-kit plan STUDY"),
    ("cell-undeclared", "grid", ERROR, "A cell on disk has levels that the study does not declare.",
     "It would be left out of the release without a word.",
     "declare its levels in study.yaml, or remove the cell"),
    ("cell-settings", "grid", ERROR, "A cell was made with other settings than study.yaml declares now.",
     "Its levels fit the grid, but it answers another question; its id says so.",
     "make the cell again, or restore the settings in study.yaml"),
    ("cell-duplicate", "grid", ERROR, "Two cells take their weights from one folder.",
     "Only one of them can be what the label says.",
     "correct `artifact_path` of the wrong one, or remove that cell's folder"),
    ("cell-broken", "grid", ERROR, "A cell.json cannot be read, or contradicts itself.",
     "The cell is complete only when its cell.json is; a damaged one may describe other weights.",
     "restore the file, or make the cell again"),
    ("cell-incomplete", "grid", WARNING, "A folder under cells/ holds files but no cell.json.",
     "Training or import stopped before its end; nothing of the folder is released.",
     "finish the cell (run the same training or import command again), or remove the folder"),
    ("cell-names", "grid", ERROR, "Names of cells collide or break the Hub's rules.",
     "Nothing can be built or published under such names.",
     "change the template `names` in study.yaml"),
    # payloads
    ("payload-identical-file", "payloads", ERROR, "The same weight file lies under two labels.",
     "One of the labels is wrong: the most common defect of large releases.",
     "find out which label the weights belong to and make the other cell again"),
    ("payload-identical-tensors", "payloads", ERROR, "All tensors of two cells are equal, in files that differ.",
     "Another header, other shards or other names hide the same weights.",
     "find out which label the weights belong to and make the other cell again"),
    ("payload-nearly-identical", "payloads", WARNING, "Nearly all tensors of two cells are equal.",
     "Two trainings do not meet by chance; parts of a checkpoint may have been copied. Harmless when most layers "
     "were frozen and the base model's folder is not declared.",
     "compare the two cells; if layers were frozen, give the base model's `path` in study.yaml"),
    ("payload-is-base", "payloads", ERROR, "All tensors of a cell equal those of its base model.",
     "This is not fine-tuned: the training changed nothing, or the wrong folder was saved.",
     "save the trained weights; if this is the untouched base, declare the cell as `baseline`"),
    ("payload-mostly-base", "payloads", WARNING, "Nearly all tensors of a cell equal those of its base model.",
     "Updates too small for the weights' type vanish (bfloat16), or most layers were frozen on purpose.",
     "check precision and learning rate, or state the frozen layers with an `allow` entry"),
    ("base-unreadable", "payloads", ERROR, "The folder that is declared for a base model holds no readable weights.",
     "Nothing can be compared with the base model.",
     "correct `path` of the base model in study.yaml, or remove it"),
    ("base-not-compared", "payloads", NOTE, "The folder of a base model is not declared.",
     "Whether the cells differ from their base model was therefore not checked.",
     "give the base model's level a `path` in study.yaml"),
    # labels
    ("label-base-model", "labels", ERROR, "The checkpoint names, or is shaped like, another base model than its label.",
     "The cell stands at the wrong place of the grid.", "correct the levels of the cell, or restore its weights"),
    ("label-dataset", "labels", ERROR, "The cell was trained on other data than its label says.",
     "The cell stands at the wrong place of the grid.", "correct the levels of the cell, or make it again"),
    ("label-method", "labels", ERROR, "The files are not what the declared method makes.",
     "An adapter under the label of a full fine-tune, the reverse, or another rank.",
     "correct the levels of the cell, or make it again"),
    ("label-seed", "labels", ERROR, "The cell was trained with another seed than its label says.",
     "Seeds that are not what they claim make error bars meaningless.",
     "correct the levels of the cell, or make it again"),
    ("label-step", "labels", ERROR, "The checkpoint was saved at another step than its label or folder says.",
     "Curves over training steps would show the wrong point.",
     "correct the levels of the cell, or save the right checkpoint"),
    ("label-epoch", "labels", ERROR, "The checkpoint was saved at another epoch than its label says.",
     "Curves over epochs would show the wrong point.",
     "correct the levels of the cell, or save the right checkpoint"),
    ("label-swapped", "labels", ERROR, "A file is not the one that training recorded for this cell.",
     "Weights were exchanged or overwritten after training.",
     "put the recorded file back, or make the cell again"),
    # weights
    ("weights-absent", "weights", ERROR, "A cell has no weights.",
     "The label promises a model that is not there.",
     "restore the artifact folder, or declare the cell under `results_only` in study.yaml"),
    ("file-unreadable", "weights", ERROR, "A file of an artifact cannot be read.",
     "It can be neither checked nor published.", "make the file readable, or restore it"),
    ("weights-truncated", "weights", ERROR, "A safetensors file is truncated or malformed.",
     "It cannot be loaded; often the disk was full or the copy was interrupted.",
     "copy or save the file again"),
    ("shard-missing", "weights", ERROR, "The index names a shard that is not there.",
     "The model cannot be loaded.", "restore the shard"),
    ("shard-unindexed", "weights", WARNING, "A weight file lies beside an index that does not name it.",
     "It is never loaded: a left-over of another save, or the index is old.",
     "remove the file, or save index and shards together"),
    ("index-disagrees", "weights", ERROR, "The index and the headers of the shards disagree.",
     "Tensors are looked for in the wrong file, or are missing.",
     "save index and shards together again"),
    ("index-broken", "weights", ERROR, "The index of the shards cannot be read.",
     "The model cannot be loaded.", "save index and shards together again"),
    ("config-missing", "weights", WARNING, "A full checkpoint has no config.json.",
     "Libraries cannot load it, and its shapes cannot be checked.", "put the model's config.json beside the weights"),
    ("config-broken", "weights", ERROR, "A configuration file of the checkpoint is not valid JSON.",
     "The model cannot be loaded.", "restore the file"),
    ("shape-contradicts-config", "weights", ERROR, "Shapes or numbers of tensors contradict config.json.",
     "Weights and configuration come from two models; loading fails, or re-initialises layers silently.",
     "put weights and configuration of the same model together"),
    ("tensor-nonfinite", "weights", ERROR, "A tensor holds NaN or infinite values.",
     "The model's outputs are NaN: training diverged, or a cast overflowed.", "make the cell again"),
    ("tensor-zero", "weights", WARNING, "A weight matrix holds nothing but zeros.",
     "Usually a layer that was never loaded or saved. Harmless where an architecture starts a matrix at zero and "
     "does not train it.",
     "look at how the checkpoint was saved; accept it with an `allow` entry if it is meant"),
    ("weights-all-zero", "weights", ERROR, "Every tensor of a cell is zero.",
     "Nothing was saved.", "make the cell again"),
    # adapters
    ("adapter-base-missing", "adapters", ERROR, "An adapter does not name its base model.",
     "Nobody can load it.", "set `base_model_name_or_path` in adapter_config.json"),
    ("adapter-base-differs", "adapters", ERROR, "An adapter names another base model than the declared one.",
     "Loading follows the adapter's word and puts it on the wrong model.",
     "set `base_model_name_or_path` to the declared base model, or correct the levels of the cell"),
    ("adapter-shape", "adapters", ERROR, "Tensors of an adapter contradict its rank or its targets.",
     "Weights and configuration come from two trainings.", "put weights and configuration of one training together"),
    ("adapter-untrained", "adapters", ERROR, "All B matrices of an adapter are zero.",
     "The adapter changes nothing: it was saved before training.", "save the trained adapter"),
    # results
    ("results-source", "results", ERROR, "A source of results cannot be read as declared.",
     "Its numbers are missing from the tables.", "correct the file, or its entry under `results` in study.yaml"),
    ("results-spelling", "results", NOTE, "A table writes one level, or the name of a metric, in several ways.",
     "It was understood; readers of the table itself may take them for different levels or metrics.",
     "write it in one way in the source"),
    ("results-undeclared", "results", ERROR, "Results belong to a cell that the study does not declare.",
     "They would be left out of the tables without a word.",
     "declare the levels in study.yaml, or remove the rows"),
    ("results-without-weights", "results", ERROR, "A cell has results, but no weights.",
     "Numbers that nobody can reproduce, unless the cell is declared as results-only.",
     "restore the weights, or declare the cell under `results_only` in study.yaml"),
    ("weights-without-results", "results", ERROR, "A cell has weights, but not one result.",
     "The model is published without the evaluation that the others have.",
     "evaluate the cell, or accept it with an `allow` entry"),
    ("results-incomplete", "results", WARNING, "A cell lacks a benchmark that other cells have.",
     "Averages over the grid compare unequal sets.", "evaluate the cell there, or name the hole in `limits`"),
    ("result-empty", "results", WARNING, "A value is empty: it was attempted and gave nothing.",
     "Often the evaluation crashed or ran out of memory.", "evaluate again, or name the hole in `limits`"),
    ("result-nonfinite", "results", ERROR, "A value is NaN or infinite.",
     "It poisons every average.", "evaluate again, or leave the value empty in the source"),
    ("result-range", "results", ERROR, "A value lies outside the range of its metric.",
     "The number cannot be what its name says.", "correct the source, or `benchmarks` in study.yaml"),
    ("result-duplicate", "results", ERROR, "Two rows give a value for one cell, benchmark, shot count and metric.",
     "One of the two is not the result; which one readers see is chance.",
     "remove one of the rows, or one of the sources"),
    ("results-identical", "results", ERROR, "Two cells have the same value in every metric that they share.",
     "Two models do not agree to the last digit everywhere: one row was copied, or one model was evaluated twice.",
     "evaluate both again"),
    ("results-partly-identical", "results", WARNING, "Two cells have the same value in many metrics.",
     "Some of the numbers were probably copied, or one model was evaluated under both labels.",
     "evaluate both again on the benchmarks named"),
    ("result-scale", "results", WARNING, "One metric is given on two scales, 0 to 1 and 0 to 100.",
     "Averages and figures over the column are wrong.", "bring the values to one scale in the source (CSV: `scale`)"),
    ("result-collapse", "results", WARNING,
     "A score falls to nothing when only the number of examples in the prompt changes.",
     "Nearly always answers that were not found in the output and counted as wrong, so that later gains measure "
     "format, not knowledge.",
     "look at the outputs and correct the extraction of answers, or say so in `limits`"),
    ("result-below-chance", "results", WARNING,
     "A score lies far below what random answers give.",
     "Whoever knows nothing scores at chance; far below it, answers were almost surely not found in the output and "
     "counted as wrong. For a baseline, every gain over it then measures format, not knowledge.",
     "look at the outputs and evaluate again; leave the score out of gains until then, or say so in `limits`"),
    # dataset
    ("dataset-broken", "dataset", ERROR, "The record of a dataset cannot be read, or contradicts the cells.",
     "Nothing says which files belong to no part, and what the card shows.",
     "run again: release-kit bids release DATASET --out STUDY"),
    ("dataset-file", "dataset", ERROR, "A file of a dataset is not there, or cannot be released as it lies there.",
     "A part of the dataset would be missing, or a pointer of git-annex would go out in place of its content.",
     "get its content (release-kit bids get, git annex get), or make the study anew with `release-kit bids release`"),
    ("dataset-outdated", "dataset", ERROR, "The dataset has changed since its study was made.",
     "The card shows numbers of files that are no longer there.",
     "run again: release-kit bids release DATASET --out STUDY, then build"),
    # foreign
    ("pickle", "foreign", ERROR, "A file of an artifact is, or holds, a Python pickle.",
     "Loading it runs whatever code it holds.", "save the weights as safetensors and remove the file"),
    ("script", "foreign", ERROR, "An artifact holds code.",
     "Models are data; code beside them is run by some loaders.", "remove the file from the artifact"),
    ("remote-code", "foreign", ERROR, "A configuration asks the loader to run code from the repository.",
     "Whoever loads the model runs that code.", "remove `auto_map` or `trust_remote_code`, or accept it with `allow`"),
    # secrets
    ("secret", "secrets", ERROR, "A file holds what looks like a token, a password or a private key.",
     "Once published it is public for ever, in the history too.",
     "revoke it now, then remove it from the file"),
    ("home-path", "secrets", ERROR, "A file holds a path in somebody's home folder.",
     "It tells a user name, and it exists nowhere else.", "replace the path by a relative one or a name"),
    ("scan-bounded", "secrets", NOTE, "A text file is too large to be searched for secrets to its end.",
     "Its end was not looked at.", "split the file, or leave it out of the artifact"),
    # licence
    ("licence-missing", "licence", ERROR, "The study declares no licence.",
     "Without one, nobody may use what is published.", "set `license` in study.yaml (an SPDX or Hub identifier)"),
    ("licence-unknown", "licence", WARNING, "A licence identifier is not one that the Hub or SPDX knows.",
     "The Hub shows no licence, and filters do not find the release.", "correct the identifier"),
    ("licence-incompatible", "licence", ERROR, "The declared licence does not go with the base model's licence.",
     "The base model's terms, as their text stands, do not leave this choice. This is not legal advice.",
     "take the base model's licence or terms over, or ask who is responsible and record it with `allow`"),
    ("licence-base-unknown", "licence", WARNING, "The licence of a base model is not declared.",
     "Whether the release may carry its licence was therefore not checked.",
     "give the base model's level a `license` in study.yaml"),
    # release
    ("release-broken", "release", ERROR, "The manifest that was built cannot be read.",
     "Nothing can be published or verified.", "build the release again"),
    ("release-stale", "release", ERROR, "A file is not what the manifest says: the build is older.",
     "The manifest, the tables and the cards describe something else than what lies there.",
     "if the new file is right, build again; if not, restore the old one"),
    ("release-swapped", "release", ERROR, "A file holds what the manifest lists under another cell.",
     "Two artifacts were exchanged after the build.", "put the files back where the manifest has them"),
    ("card-stale", "release", ERROR, "A card shows what no longer follows from the results.",
     "Readers see old numbers.", "regenerate the cards, then build again"),
    ("analysis-broken", "release", ERROR, "The analysis, or a file that it names, is damaged.",
     "Figures and verdicts would go out that nobody made.", "run: release-kit sft analyse STUDY"),
    ("analysis-stale", "release", ERROR, "The analysis was made from other results or tables.",
     "Verdicts and figures no longer follow from the numbers; the card of the release leaves them out.",
     "run: release-kit sft analyse STUDY, then build again"),
    # allow
    ("allow-unused", "allow", WARNING, "An `allow` entry matches no problem.",
     "It may hide a future problem, or it is misspelt.", "remove the entry, or correct its `code` and `where`"),
    ("allow-unknown", "allow", WARNING, "An `allow` entry names a code that does not exist.",
     "It can never match.", "correct the code; `release-kit check --explain all` lists them"),
)  # fmt: skip

CODES: dict[str, Code] = {
    row[0]: Code(name=row[0], family=row[1], severity=row[2], summary=row[3], why=row[4], next_step=row[5])
    for row in _TABLE
}


def problem(
    code: str,
    where: str,
    what: str,
    *,
    next_step: str | None = None,
    severity: str | None = None,
    cell_id: str | None = None,
    path: str | None = None,
    row: int | None = None,
) -> Problem:
    """Return a problem of kind ``code``, with the code's own severity and next step unless others are given."""
    kind = CODES[code]
    return Problem(
        code=code,
        severity=severity or kind.severity,
        where=where,
        what=what,
        next_step=next_step or kind.next_step,
        family=kind.family,
        cell_id=cell_id,
        path=path,
        row=row,
    )


def explain(name: str) -> str:
    """Return what a code means, for ``check --explain``.

    Raises:
        UsageError: there is no such code.
    """
    if name not in CODES:
        raise UsageError(f"no code {name!r}{nearest(name, list(CODES))}", where="--explain")
    code = CODES[name]
    return f"{code.name} ({code.severity}, {code.family})\n{code.summary}\n{code.why}\nNext step: {code.next_step}."
