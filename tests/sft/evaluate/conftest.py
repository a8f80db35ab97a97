"""Fixtures of the evaluation tests: one study folder and one model for the session, and the harness's own scores."""

import contextlib
import os
from pathlib import Path

import pytest

from release_kit.sft.evaluate.run import EvalModel, evaluate_cell
from release_kit.sft.spec.settings import EvaluationSettings

os.environ.setdefault("TQDM_DISABLE", "1")
from sft.evaluate.evaluation_factory import write_model, write_study


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the small model; nobody writes into it."""
    return write_model(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture(scope="session")
def shared_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a study with a task of every kind; only its cache is written to."""
    return write_study(tmp_path_factory.mktemp("evaluation") / "study")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Return a study of one's own."""
    return write_study(tmp_path / "study")


@pytest.fixture
def evaluate(tmp_path: Path):
    """Return a function that evaluates a model and gives back {task: results document}."""
    import json

    def run(study: Path, model: EvalModel | Path, *tasks: str, out: str = "out", on_event=None, **settings) -> dict:
        model = model if isinstance(model, EvalModel) else EvalModel(base=model)
        wanted = EvaluationSettings(tasks=tasks, **settings)
        written = evaluate_cell(study, model, wanted, tmp_path / out, on_event=on_event)
        return {path.stem: json.loads(path.read_bytes()) for path in written}

    return run


@pytest.fixture(scope="session")
def harness_scores(shared_study: Path, model_folder: Path):
    """Return a function: the harness's own results and samples of a task, from the model's folder."""
    from lm_eval import evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    models = {}

    def run(task: str, batch_size: int = 1, adapter: Path | None = None, study: Path = shared_study) -> dict:
        key = (batch_size, adapter)
        if key not in models:
            extra = {} if adapter is None else {"peft": str(adapter)}
            models[key] = HFLM(
                pretrained=str(model_folder), dtype="float32", device="cpu", batch_size=batch_size, **extra
            )
        with contextlib.chdir(study):
            loaded = TaskManager(include_path="tasks", include_defaults=False).load([task])
            loaded["tasks"][task].set_fewshot_seed(1234)
            if loaded["tasks"][task].get_config("num_fewshot") is None:
                loaded["tasks"][task].set_config("num_fewshot", 0)
            return evaluate(models[key], loaded, bootstrap_iters=0, log_samples=True)

    return run
