"""What decides the answers of a model to a task, as one record: it is the key of the cache and stands in the results.

Weights, tokenizer, generation settings, requests, the scorer's own code, versions of what computes, device and threads.
Batch size is not among them for the fast scorer: it changes nothing.
"""

import functools
import hashlib
import importlib.metadata
from pathlib import Path
from typing import Any

from release_kit.sft.evaluate.harness import HARNESS_SEED, version
from release_kit.sft.evaluate.model import OpenModel
from release_kit.sft.evaluate.tasks import PreparedTask
from release_kit.sft.spec.settings import EvaluationSettings

CODE_FILES = (
    "answers.py", "generate.py", "harness.py", "harness_run.py", "model.py", "plan.py", "scorer.py", "tasks.py",
)  # fmt: skip
"""Files of this room whose code decides an answer."""


def answer_facts(prepared: PreparedTask, opened: OpenModel, settings: EvaluationSettings) -> dict[str, Any]:
    """Return everything that decides the answers, as JSON values without paths and clocks."""
    import torch

    return {
        "model": "release_kit",
        "weights_sha256": opened.weights_sha256,
        "tokenizer_sha256": opened.tokenizer_sha256,
        "generation": _generation(opened.module),
        "task_sha256": prepared.sha256,
        "requests_sha256": prepared.requests_sha256,
        "limit": settings.limit,
        "num_fewshot": settings.num_fewshot,
        "max_new_tokens": settings.max_new_tokens,
        "fewshot_seed": HARNESS_SEED,
        "dtype": "float32",
        "device": opened.module.device.type,
        "threads": settings.threads,
        "processor": torch.backends.cpu.get_cpu_capability(),
        "versions": {**_versions(), "lm_eval": version()},
    }


def _generation(module: Any) -> dict[str, Any]:
    """Return the model's own generation settings, which say what ends an answer and how the harness decodes."""
    config = getattr(module, "generation_config", None)
    settings = {} if config is None else config.to_diff_dict()
    return {key: value for key, value in settings.items() if key not in ("transformers_version", "_from_model_config")}


@functools.cache
def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in ("torch", "transformers", "tokenizers")}


@functools.cache
def code_sha256() -> str:
    """Return one digest of the code that decides an answer."""
    folder = Path(__file__).parent
    return hashlib.sha256(b"\0".join((folder / name).read_bytes() for name in CODE_FILES)).hexdigest()
