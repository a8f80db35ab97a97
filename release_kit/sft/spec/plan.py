"""What a study of fine-tuned models will cost, before anything starts: runs, cells, tokens, time, storage.

Counts are exact. Tokens, time and storage are estimates from what is there: records of the datasets, the base models'
configurations, and the speed of runs that have finished. What cannot be known is None, never a guess. Reads no
weights and imports no torch.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from release_kit.core.cell import CELL_FILE, cell_folder
from release_kit.core.grid import cell_id, iter_block_levels, level_text
from release_kit.core.study import Study
from release_kit.sft.spec.runs import RUNS_FOLDER, RunPlan, base_folder, data_path, plan_runs, untouched_cells
from release_kit.sft.spec.settings import FULL, LORA

BYTES_PER_TOKEN = 4
"""UTF-8 bytes of English text per token of common vocabularies; only for data that nobody has tokenised yet."""

BYTES_PER_PARAMETER = {FULL: 2, LORA: 4}
"""Full weights are kept as bfloat16, adapters as float32."""


@dataclass(frozen=True, kw_only=True)
class BlockPlan:
    """One ``include`` block of the grid."""

    label: str
    n_runs: int
    """Runs that make its cells; a run whose cells lie in two blocks counts in the first."""
    n_cells: int


@dataclass(frozen=True, kw_only=True)
class CostPlan:
    """What a study will do. ``None`` where it cannot be told yet."""

    n_runs: int
    n_cells: int
    """Cells that runs make."""
    n_untouched: int
    """Cells of base models as they are; they are only evaluated."""
    n_done: int
    """Cells that are complete on disk."""
    blocks: tuple[BlockPlan, ...]
    n_tokens: int | None
    """Tokens that all runs read, all epochs."""
    n_tokens_by: str
    """How tokens were estimated: ``declared``, ``measured``, ``bytes`` or a mixture."""
    seconds: float | None
    """Seconds of training on one worker, from finished runs of the same base model and method."""
    n_runs_timed: int
    """Runs behind whose estimate of time there is a finished run."""
    storage_bytes: int | None
    """Bytes of all checkpoints that are kept."""
    n_cells_sized: int
    unknown: tuple[str, ...]
    """What is missing for a better estimate, and how to get it."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)


def plan_cost(study: Study) -> CostPlan:
    """Count the runs and estimate their tokens, time and storage.

    Raises:
        StudyError: the study is not one of fine-tuned models, or contradicts itself.
        RecordError: its settings are wrong.
    """
    runs, untouched = plan_runs(study), untouched_cells(study)
    tokens = [_tokens(study, run) for run in runs]
    sizes = [_bytes_of_one(study, run) for run in runs]
    speeds = _speeds(study)
    times = [
        count / speeds[run.base_model, run.method]
        for run, (count, _) in zip(runs, tokens, strict=True)
        if count is not None and (run.base_model, run.method) in speeds
    ]
    sized = [size * len(run.cells) for run, size in zip(runs, sizes, strict=True) if size is not None]
    known = [count for count, _ in tokens if count is not None]
    every = [cell.cell_id for run in runs for cell in run.cells] + [cell.cell_id for cell in untouched]
    return CostPlan(
        n_runs=len(runs),
        n_cells=sum(len(run.cells) for run in runs),
        n_untouched=len(untouched),
        n_done=sum((cell_folder(study.folder, one) / CELL_FILE).is_file() for one in every),
        blocks=_blocks(study, runs),
        n_tokens=sum(known) if known else None,
        n_tokens_by=" and ".join(sorted({how for count, how in tokens if count is not None})),
        seconds=round(sum(times), 1) if times else None,
        n_runs_timed=len(times),
        storage_bytes=sum(sized) if sized else None,
        n_cells_sized=sum(len(run.cells) for run, size in zip(runs, sizes, strict=True) if size is not None),
        unknown=_unknown(len(runs), len(known), len(times), sum(size is not None for size in sizes)),
    )


def _blocks(study: Study, runs: list[RunPlan]) -> tuple[BlockPlan, ...]:
    first_block = {cell_id(study, levels): index for index, levels in iter_block_levels(study)}
    n_cells = Counter(first_block.values())
    n_runs = Counter(first_block[run.cells[0].cell_id] for run in runs)
    labels = [_label(block) for block in study.include] or ["the full product"]
    return tuple(
        BlockPlan(label=label, n_runs=n_runs[index], n_cells=n_cells[index]) for index, label in enumerate(labels)
    )


def _label(block: Mapping[str, tuple]) -> str:
    """Return ``10 of dataset, method full|lora``: long lists as their length."""
    parts = []
    for name, levels in block.items():
        text = "|".join(level_text(level) for level in levels)
        parts.append(f"{name} {text}" if len(text) <= 16 else f"{len(levels)} of {name}")
    return ", ".join(parts) or "everything"


def _tokens(study: Study, run: RunPlan) -> tuple[int | None, str]:
    """Return (tokens that a run reads, how that is known)."""
    parts = [_tokens_per_example(study, name) for name in run.components]
    if any(part is None for part in parts):
        return None, ""
    share = run.data_size // len(parts) if run.data_size else None
    n_examples = [share or part["n_examples"] for part in parts]
    if any(n is None for n in n_examples):
        return None, ""
    one_epoch = sum(n * part["tokens"] for n, part in zip(n_examples, parts, strict=True))
    if run.settings.steps is not None:
        total = run.settings.steps * run.settings.batch_size * one_epoch / max(sum(n_examples), 1)
    else:
        total = one_epoch * (run.settings.epochs or 1)
    return round(total), " and ".join(sorted({part["how"] for part in parts}))


def _tokens_per_example(study: Study, dataset: str) -> dict[str, Any] | None:
    factor = study.factor_with_role("dataset")
    known = factor.properties.get(dataset, {}) if factor else {}
    path = data_path(study, dataset)
    n_examples = _json(path.with_suffix(".json")).get("n_examples") or _count_lines(path)
    if known.get("tokens_per_example"):
        return {"tokens": known["tokens_per_example"], "n_examples": n_examples, "how": "declared"}
    if not n_examples or not path.is_file():
        return None
    return {"tokens": path.stat().st_size / BYTES_PER_TOKEN / n_examples, "n_examples": n_examples, "how": "bytes"}


def _bytes_of_one(study: Study, run: RunPlan) -> int | None:
    """Return the size of one checkpoint of a run."""
    factor = study.factor_with_role("base_model")
    known = factor.properties.get(run.base_model, {}) if factor else {}
    config = _json(base_folder(study, run.base_model) / "config.json")
    if run.method == FULL:
        n = known.get("n_parameters") or _n_parameters(config)
        return None if n is None else int(n) * BYTES_PER_PARAMETER[FULL]
    n = _n_adapter_parameters(config, run.settings.lora.rank)
    return None if n is None else n * BYTES_PER_PARAMETER[LORA]


def _shape(config: Mapping[str, Any]) -> dict[str, int] | None:
    """Return the sizes of a Llama-like model, or None when the configuration does not say them."""
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
    if not all(isinstance(config.get(name), int) for name in names):
        return None
    shape = {name: config[name] for name in names}
    head = config.get("head_dim") or shape["hidden_size"] // shape["num_attention_heads"]
    shape["q"] = head * shape["num_attention_heads"]
    shape["kv"] = head * (config.get("num_key_value_heads") or shape["num_attention_heads"])
    return shape


def _n_parameters(config: Mapping[str, Any]) -> int | None:
    shape = _shape(config)
    if shape is None:
        return None
    hidden, inner = shape["hidden_size"], shape["intermediate_size"]
    layer = 2 * hidden * shape["q"] + 2 * hidden * shape["kv"] + 3 * hidden * inner + 2 * hidden
    heads = 1 if config.get("tie_word_embeddings") else 2
    return shape["num_hidden_layers"] * layer + heads * shape["vocab_size"] * hidden + hidden


def _n_adapter_parameters(config: Mapping[str, Any], rank: int) -> int | None:
    """Count the adapter on all linear layers: ``rank * (inputs + outputs)`` of each."""
    shape = _shape(config)
    if shape is None:
        return None
    hidden, inner = shape["hidden_size"], shape["intermediate_size"]
    sides = 2 * (hidden + shape["q"]) + 2 * (hidden + shape["kv"]) + 3 * (hidden + inner)
    return shape["num_hidden_layers"] * rank * sides


def _speeds(study: Study) -> dict[tuple[str, str], float]:
    """Return {(base model, method): tokens a second} of runs that have finished."""
    seen: dict[tuple[str, str], list[float]] = {}
    for path in sorted((study.folder / RUNS_FOLDER).glob("*/done.json")):
        done = _json(path)
        key = (str(done.get("base_model")), str(done.get("method")))
        if done.get("seconds") and done.get("n_tokens"):
            seen.setdefault(key, []).append(done["n_tokens"] / done["seconds"])
    return {key: median(values) for key, values in seen.items()}


def _unknown(n_runs: int, n_known: int, n_timed: int, n_sized: int) -> tuple[str, ...]:
    notes = []
    if n_known < n_runs:
        notes.append(f"tokens of {n_runs - n_known} runs: prepare the data, or give `tokens_per_example` of a dataset")
    if n_timed < n_runs:
        notes.append(f"time of {n_runs - n_timed} runs: known once a run of that base model and method has finished")
    if n_sized < n_runs:
        notes.append(f"storage of {n_runs - n_sized} runs: prepare the base model, or give its `n_parameters`")
    return tuple(notes)


def _count_lines(path: Path) -> int | None:
    """Return the number of examples of a file without a record; None when there is no file."""
    try:
        with open(path, "rb") as stream:
            return sum(1 for line in stream if line.strip()) or None
    except OSError:
        return None


def _json(path: Path) -> dict[str, Any]:
    """Return a JSON object, or an empty one when there is none to be had: an estimate never stops a plan."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
