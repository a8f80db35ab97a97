"""lm-evaluation-harness on task files of the study; the only import of ``lm_eval``.

Owns running it offline and putting what it wrote, unchanged, at ``cells/<id>/eval/<task>.json``. Reading those files
into results is ``core.results_lm_eval``. Paths given to the harness are relative to the study, so that its record of
what was evaluated means the same on another machine.
"""

import contextlib
import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release_kit.core.errors import ArtifactError, MissingExtraError, StudyError
from release_kit.core.files import write_atomic
from release_kit.core.records import nearest
from release_kit.sft.runtime import prepare_runtime
from release_kit.sft.settings import EvaluationSettings

TASKS_FOLDER = "tasks"
EVAL_FOLDER = "eval"
HARNESS_SEED = 1234


@dataclass(frozen=True, kw_only=True)
class ModelPaths:
    """What to evaluate; both paths relative to the study folder."""

    model: str
    """A checkpoint folder that ``from_pretrained`` reads."""
    adapter: str | None = None
    """A PEFT adapter to put on it."""


def evaluate(
    study_folder: Path, paths: ModelPaths, settings: EvaluationSettings, folder: Path, *, threads: int = 1
) -> list[Path]:
    """Evaluate one model on every task of ``settings`` and return the files written into ``folder``.

    A task whose file is already there is not run again.

    Raises:
        StudyError: a task is not among the files of ``tasks/``.
        MissingExtraError: lm-evaluation-harness is not installed.
        ArtifactError: the model cannot be loaded.
    """
    check_tasks(study_folder, settings)
    written = [folder / f"{task}.json" for task in settings.tasks]
    for task, path in zip(settings.tasks, written, strict=True):
        if not path.is_file():
            write_atomic(path, run_harness(study_folder, paths, task, settings, threads=threads))
    return written


def check_tasks(study_folder: Path, settings: EvaluationSettings) -> None:
    """Refuse tasks that have no file.

    Raises:
        StudyError: with the nearest known task.
    """
    known = sorted(path.stem for path in (study_folder / TASKS_FOLDER).glob("*.yaml"))
    for task in settings.tasks:
        if task not in known:
            raise StudyError(f"no task {task!r}{nearest(task, known)}", where=str(study_folder / TASKS_FOLDER))


def run_harness(
    study_folder: Path, paths: ModelPaths, task: str, settings: EvaluationSettings, *, threads: int = 1
) -> bytes:
    """Return the results file that the harness writes for one task, byte for byte.

    Everything it reads is on disk; the workers of ``grid_run.py`` also set ``HF_HUB_OFFLINE``, so that a mistake in a
    task file cannot make it look elsewhere.
    """
    prepare_runtime(threads=threads)
    try:
        from lm_eval.loggers import EvaluationTracker
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "lm_eval", "sft") from error
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(study_folder), _quiet():
        tracker = EvaluationTracker(output_path=scratch)
        try:
            results = _simple_evaluate(paths, task, settings, tracker)
        except OSError as error:
            what = f"cannot be evaluated ({' '.join(str(error).split())[:300]})"
            raise ArtifactError(what, where=str(study_folder / (paths.adapter or paths.model))) from error
        tracker.save_results_aggregated(results)
        return next(Path(scratch).rglob("results_*.json")).read_bytes()


def _simple_evaluate(paths: ModelPaths, task: str, settings: EvaluationSettings, tracker: Any) -> Any:
    """Run the harness in the current folder, with every seed fixed."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    arguments = {"pretrained": paths.model, "dtype": "float32"} | ({"peft": paths.adapter} if paths.adapter else {})
    return simple_evaluate(
        model="hf",
        model_args=arguments,
        tasks=[task],
        batch_size=settings.batch_size,
        device="cpu",
        limit=settings.limit,
        log_samples=False,
        bootstrap_iters=1000,
        evaluation_tracker=tracker,
        task_manager=TaskManager(include_path=TASKS_FOLDER, include_defaults=False),
        random_seed=HARNESS_SEED,
        numpy_random_seed=HARNESS_SEED,
        torch_random_seed=HARNESS_SEED,
        fewshot_random_seed=HARNESS_SEED,
    )


@contextlib.contextmanager
def _quiet():
    """Send the harness's own progress bars nowhere; what matters is in its file."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere), contextlib.redirect_stdout(nowhere):
        yield
