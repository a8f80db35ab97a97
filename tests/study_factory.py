"""A clean study on disk for any test: tiny Llama-like checkpoints, LoRA adapters, harness results, nothing wrong.

Every file is real (safetensors, configs, trainer state, lm-evaluation-harness JSON) and written by hand with numpy, so
that no test needs torch for it. The same arguments give the same bytes. ``tests/conftest.py`` offers ``make_study``.
"""

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from release_kit.core.cell import Cell, cell_folder, write_cell
from release_kit.core.grid import cell_config, cell_id_of, iter_levels
from release_kit.core.study import Study, read_study

DTYPES = {"float32": "F32", "float16": "F16", "uint16": "BF16"}
"""numpy type → safetensors type; uint16 stands for raw bfloat16."""

LEARNING_RATE = 1e-4
N_STEPS = 30
LORA_RANK = 2


@dataclass(frozen=True, kw_only=True)
class TinyShape:
    """The sizes of the tiny model."""

    hidden: int = 8
    layers: int = 2
    heads: int = 2
    intermediate: int = 16
    vocab: int = 16


@dataclass(frozen=True, kw_only=True)
class StudySpec:
    """What ``make_study`` writes; the default is two datasets by two methods by two seeds and one baseline cell."""

    base_models: tuple[str, ...] = ("tiny-llama",)
    datasets: tuple[str, ...] = ("alpaca", "lima")
    methods: tuple[str, ...] = ("full", "lora")
    seeds: tuple[int, ...] = (0, 1)
    with_base: bool = True
    """Also one results-only cell for each untouched base model (method ``base``, dataset ``none``, first seed)."""
    benchmarks: tuple[str, ...] = ("arc_tiny", "copa_tiny", "nq_tiny")
    shards: int = 1
    shape: TinyShape = field(default_factory=TinyShape)
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Keys added to (or replaced in) ``study.yaml``."""


def make_study(folder: Path, **changes: Any) -> Study:
    """Write a clean study into ``folder`` and return it; ``changes`` are fields of ``StudySpec``."""
    spec = StudySpec(**changes)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.yaml").write_text(yaml.safe_dump(study_document(spec), sort_keys=False), encoding="utf-8")
    for name in spec.base_models:
        write_model(folder / "bases" / name, base_tensors(name, spec.shape), spec.shape)
    study = read_study(folder)
    for levels in iter_levels(study):
        write_tiny_cell(study, levels, spec)
    return study


def study_document(spec: StudySpec) -> dict[str, Any]:
    """Return the content of ``study.yaml``."""
    tuned = {"dataset": list(spec.datasets), "method": list(spec.methods)}
    none, base = (["none"], ["base"]) if spec.with_base else ([], [])
    document: dict[str, Any] = {
        "schema_version": 1,
        "name": "tiny-grid",
        "version": "1.0.0",
        "title": "A tiny grid",
        "license": "apache-2.0",
        "languages": ["en"],
        "authors": ["Test Author"],
        "factors": {
            "base_model": {
                name: {"hub_id": f"test-lab/{name}", "license": "apache-2.0", "path": f"bases/{name}"}
                for name in spec.base_models
            },
            "dataset": {name: {"hub_id": f"test-lab/{name}"} for name in [*spec.datasets, *none]},
            "method": [*spec.methods, *base],
        },
        "seeds": list(spec.seeds),
        "settings": {"learning_rate": LEARNING_RATE, "n_steps": N_STEPS},
        "benchmarks": {name: {"acc": {"range": [0, 1]}} for name in spec.benchmarks},
        "names": "{base_model}-{dataset}-{method}-s{seed}",
    }
    if spec.with_base:
        baseline = {"method": "base", "dataset": "none", "seed": spec.seeds[0]}
        document |= {"include": [tuned, baseline], "baseline": {"method": "base"}, "results_only": [{"method": "base"}]}
    return {**document, **spec.extra}


def change_study(study: Study, **changes: Any) -> Study:
    """Replace top-level keys of ``study.yaml`` (None removes one) and read it again."""
    path = study.folder / "study.yaml"
    document = yaml.safe_load(path.read_text(encoding="utf-8")) | changes
    kept = {key: value for key, value in document.items() if value is not None}
    path.write_text(yaml.safe_dump(kept, sort_keys=False), encoding="utf-8")
    return read_study(study.folder)


def find_cell(study: Study, **levels: Any) -> Path:
    """Return the folder of the first cell that has ``levels``, in the order of the grid."""
    for declared in iter_levels(study):
        if all(declared[name] == level for name, level in levels.items()):
            return cell_folder(study.folder, cell_id_of(cell_config(study, declared)))
    raise LookupError(f"no cell has {levels}")


def change_json(path: Path, **changes: Any) -> None:
    """Replace top-level keys of a JSON file (None removes one)."""
    value = json.loads(path.read_text(encoding="utf-8")) | changes
    write_json(path, {key: item for key, item in value.items() if item is not None})


def write_tiny_cell(study: Study, levels: Mapping[str, Any], spec: StudySpec) -> Cell:
    """Write one complete cell: artifact (unless it is a baseline), results and ``cell.json``, in this order."""
    config = cell_config(study, levels)
    cell_id = cell_id_of(config)
    folder = cell_folder(study.folder, cell_id)
    if levels["method"] == "lora":
        write_adapter(folder / "model", cell_id, f"test-lab/{levels['base_model']}", spec.shape)
    elif levels["method"] != "base":
        tensors = tuned_tensors(levels["base_model"], cell_id, spec.shape)
        write_model(folder / "model", tensors, spec.shape, shards=spec.shards)
    if levels["method"] != "base":
        write_json(folder / "model" / "trainer_state.json", {"epoch": 1.0, "global_step": N_STEPS, "log_history": []})
    for benchmark in spec.benchmarks:
        write_json(folder / "eval" / f"{benchmark}.json", harness_json(benchmark, cell_id))
    cell = Cell(cell_id=cell_id, levels=dict(levels), config=config, provenance=_provenance(levels))
    write_cell(study.folder, cell)
    return cell


def harness_json(benchmark: str, cell_id: str, *, n: int = 4999) -> dict[str, Any]:
    """Return what lm-evaluation-harness writes for one 0-shot task; the score follows from the cell id."""
    n_right = 1 + _number(benchmark, cell_id) % (n - 1)
    accuracy = n_right / n
    stderr = (accuracy * (1 - accuracy) / (n - 1)) ** 0.5
    return {
        "results": {benchmark: {"alias": benchmark, "acc,none": accuracy, "acc_stderr,none": stderr}},
        "configs": {benchmark: {"task": benchmark, "num_fewshot": 0}},
        "versions": {benchmark: 1.0},
        "n-shot": {benchmark: 0},
        "n-samples": {benchmark: {"original": n, "effective": n}},
        "higher_is_better": {benchmark: {"acc": True}},
    }


def base_tensors(name: str, shape: TinyShape) -> dict[str, np.ndarray]:
    """Return the float32 tensors of an untouched base model."""
    random = np.random.default_rng(_number("base", name))
    return {key: random.normal(0, 0.02, size).astype("float32") for key, size in tensor_shapes(shape).items()}


def tuned_tensors(base: str, cell_id: str, shape: TinyShape) -> dict[str, np.ndarray]:
    """Return the tensors of a full fine-tune: the base plus a small change that follows from the cell id."""
    random = np.random.default_rng(_number("tuned", cell_id))
    tensors = base_tensors(base, shape)
    return {key: value + random.normal(0, 1e-3, value.shape).astype("float32") for key, value in tensors.items()}


def tensor_shapes(shape: TinyShape) -> dict[str, tuple[int, ...]]:
    """Return name → shape of a Llama-like model with tied embeddings."""
    h, i = shape.hidden, shape.intermediate
    result: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (shape.vocab, h), "model.norm.weight": (h,)}
    for layer in range(shape.layers):
        prefix = f"model.layers.{layer}"
        result |= {f"{prefix}.self_attn.{name}_proj.weight": (h, h) for name in "qkvo"}
        result |= {f"{prefix}.mlp.{name}_proj.weight": (i, h) for name in ("gate", "up")}
        result |= {f"{prefix}.mlp.down_proj.weight": (h, i), f"{prefix}.input_layernorm.weight": (h,)}
        result[f"{prefix}.post_attention_layernorm.weight"] = (h,)
    return result


def write_model(folder: Path, tensors: Mapping[str, np.ndarray], shape: TinyShape, *, shards: int = 1) -> None:
    """Write a full checkpoint, in one file or as shards with their index."""
    write_json(folder / "config.json", model_config(shape))
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>"})
    if shards == 1:
        write_safetensors(folder / "model.safetensors", tensors)
        return
    names, weight_map = sorted(tensors), {}
    for index in range(shards):
        file = f"model-{index + 1:05}-of-{shards:05}.safetensors"
        part = names[index::shards]
        write_safetensors(folder / file, {name: tensors[name] for name in part})
        weight_map |= {name: file for name in part}
    total = sum(tensor.nbytes for tensor in tensors.values())
    write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})


def model_config(shape: TinyShape) -> dict[str, Any]:
    """Return the ``config.json`` of the tiny model."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "vocab_size": shape.vocab,
        "max_position_embeddings": 64,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
    }


def write_adapter(folder: Path, cell_id: str, base_model: str, shape: TinyShape) -> None:
    """Write a trained LoRA adapter on q_proj and v_proj, as peft saves it."""
    config = {
        "base_model_name_or_path": base_model,
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": LORA_RANK,
        "lora_alpha": 2 * LORA_RANK,
        "lora_dropout": 0.0,
        "target_modules": ["q_proj", "v_proj"],
    }
    random = np.random.default_rng(_number("adapter", cell_id))
    tensors = {}
    for layer in range(shape.layers):
        for name in "qv":
            prefix = f"base_model.model.model.layers.{layer}.self_attn.{name}_proj"
            tensors[f"{prefix}.lora_A.weight"] = random.normal(0, 0.1, (LORA_RANK, shape.hidden)).astype("float32")
            tensors[f"{prefix}.lora_B.weight"] = random.normal(0, 0.1, (shape.hidden, LORA_RANK)).astype("float32")
    write_json(folder / "adapter_config.json", config)
    write_safetensors(folder / "adapter_model.safetensors", tensors)


def write_safetensors(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> None:
    """Write one safetensors file; uint16 arrays are taken as bfloat16."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt", **(metadata or {})}}
    position, parts = 0, []
    for name, tensor in sorted(tensors.items()):
        data = np.ascontiguousarray(tensor).tobytes()
        end = position + len(data)
        dtype = DTYPES[tensor.dtype.name]
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [position, end]}
        position = end
        parts.append(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(parts))


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Read one safetensors file back, to plant a defect in it."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    header.pop("__metadata__", None)
    kinds = {code: name for name, code in DTYPES.items()}
    result = {}
    for name, entry in header.items():
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        result[name] = np.frombuffer(raw[start:end], kinds[entry["dtype"]]).reshape(entry["shape"]).copy()
    return result


def write_json(path: Path, value: Any) -> None:
    """Write JSON as trainers do: two spaces of indent, a final newline."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _provenance(levels: Mapping[str, Any]) -> dict[str, Any]:
    """What training knows of itself; the digests stand for files that are not part of a tiny study."""
    base_model = {"name": levels["base_model"], "digest": _hex("base", levels["base_model"])}
    if levels["method"] == "base":
        return {"base_model": base_model}
    return {
        "base_model": base_model,
        "code_commit": _hex("code")[:40],
        "data": {levels["dataset"]: _hex("data", levels["dataset"])},
        "seed": levels["seed"],
        "train_loss": 1.5,
        "versions": {"torch": "2.13.0", "transformers": "5.23.0"},
    }


def _number(*parts: str) -> int:
    return int(_hex(*parts)[:12], 16)


def _hex(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
