"""lm-evaluation-harness: task files, prompts, tokenising, metrics, and runs of the harness itself.

The only import of ``lm_eval``. Everything that decides what is asked and how an answer is scored is the harness's own
code on the study's task files; ``scorer.py`` and ``generate.py`` only take the place of its model.
"""

import contextlib
import copy
import functools
import importlib.metadata
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from release_kit.core.errors import ArtifactError, MissingExtraError, StudyError
from release_kit.core.records import nearest
from release_kit.sft.evaluate.generate import Prompt
from release_kit.sft.evaluate.plan import Scored
from release_kit.sft.runtime import set_seed

TASKS_FOLDER = "tasks"
HARNESS_SEED = 1234
"""Of few-shot examples and of every generator that the harness seeds."""
EXECUTED_TESTS = "executed_tests"
"""Name of the metric that runs the tests of a document (``code_tests.py``)."""
BOOTSTRAP_ITERS = 1000


def check_tasks(study_folder: Path, names: Sequence[str]) -> None:
    """Refuse tasks that no file of ``tasks/`` defines; all of them are named.

    Raises:
        StudyError: with the nearest known task for each.
    """
    known = known_tasks(study_folder)
    wrong = [f"{name!r}{nearest(name, known)}" for name in names if name not in known]
    if wrong:
        raise StudyError(f"no task {', '.join(wrong)}", where=str(study_folder / TASKS_FOLDER))


def known_tasks(study_folder: Path) -> list[str]:
    """Return the names of the task files of the study, sorted."""
    return sorted(path.stem for path in (study_folder / TASKS_FOLDER).rglob("*.yaml") if path.stem[0] != "_")


def load_task(study_folder: Path, name: str, *, num_fewshot: int | None, max_new_tokens: int | None) -> Any:
    """Return the harness's own object of one task, its documents loaded, seeds and number of examples set.

    Args:
        study_folder: relative paths in the task file start here.
        name: the task.
        num_fewshot: examples in the prompt; None, or a task that says 0, leaves the task's own number (as the harness).
        max_new_tokens: upper bound of generated tokens; None leaves the task's own.

    Raises:
        StudyError: the file is not a task the harness reads, its data are missing, or it is a group of tasks.
        MissingExtraError: lm-evaluation-harness is not installed.
    """
    with _harness(study_folder) as where, _task_errors(study_folder, name):
        from lm_eval.tasks import TaskManager

        loaded = TaskManager(include_path=str(where / TASKS_FOLDER), include_defaults=False).load([name])
        if loaded["groups"] or len(loaded["tasks"]) != 1:
            raise StudyError(
                f"the task {name!r} is a group", where=str(study_folder / TASKS_FOLDER),
                next_step=f"name its tasks: {', '.join(sorted(loaded['tasks']))}",
            )  # fmt: skip
        task = loaded["tasks"][name]
        _set(task, num_fewshot, max_new_tokens)
        return task


def build_requests(study_folder: Path, task: Any, limit: int | None) -> list[Any]:
    """Return the harness's requests of the first ``limit`` documents (None: all)."""
    with _harness(study_folder), _task_errors(study_folder, task.config.task):
        task.set_fewshot_seed(seed=HARNESS_SEED)
        task.build_all_requests(limit=limit)
        _remember_documents(task)
        return list(task.instances)


def describe_task(task: Any) -> dict[str, Any]:
    """Return the resolved configuration of the task as JSON values, functions as their source."""
    from lm_eval.utils import handle_non_serializable

    return json.loads(json.dumps(task.dump_config(), default=handle_non_serializable, ensure_ascii=False))


def document_json(document: Any) -> str:
    """Return one document as canonical text."""
    from lm_eval.utils import handle_non_serializable

    return json.dumps(document, sort_keys=True, default=handle_non_serializable, ensure_ascii=False)


def analytic_stderr(aggregation: Callable) -> Callable[[list], float] | None:
    """Return the harness's closed-form standard error for ``aggregation``, None where it has none."""
    from lm_eval.api.metrics import acc_all, mean, stderr_for_metric

    return stderr_for_metric(aggregation, bootstrap_iters=1) if aggregation in (mean, acc_all) else None


def mean_aggregation() -> Callable:
    """Return the harness's mean, the aggregation of a metric that names none."""
    from lm_eval.api.metrics import mean

    return mean


def max_length(module: Any, tokenizer: Any) -> int:
    """Return the tokens that the model can read at once, as the harness finds them."""
    from lm_eval.models.utils import resolve_max_length

    return resolve_max_length(module.config, tokenizer)


class Encoder:
    """Requests turned into tokens by the harness's own model class, for one model and tokenizer."""

    def __init__(self, module: Any, tokenizer: Any):
        with _harness(None):
            self._lm = _capture_class()(pretrained=module, tokenizer=_own(tokenizer), batch_size=1)
        self._max_length = self._lm.max_length

    @property
    def max_length(self) -> int:
        """Tokens that the model can read at once."""
        return self._max_length

    def release(self) -> None:
        """Let go of the model; what is left turns tokens into text."""
        self._lm._model = None

    def scored(self, instances: Sequence[Any]) -> list[list[Scored]]:
        """Return the texts to score of every request: one for a likelihood, its windows for a perplexity."""
        return [[self._cut(*pair) for pair in self._lm.pairs(instance)] for instance in instances]

    def prompt(self, instance: Any) -> Prompt | str:
        """Return the prompt of a generation request, or why greedy decoding is not what it asks for."""
        from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs

        context, settings = instance.args[:2]
        kwargs = dict(normalize_gen_kwargs(settings, self._lm.max_gen_toks))
        until = handle_stop_sequences(kwargs.pop("until"), eos=self._lm.tok_decode(self._lm.eot_token_id, False))
        n_new = kwargs.pop("max_gen_toks")
        sampled = kwargs.pop("do_sample") or kwargs.pop("temperature", 0.0)
        kwargs.pop("temperature", None)
        if sampled:
            return "answers are sampled"
        if kwargs:
            return f"generation_kwargs has {', '.join(sorted(kwargs))}"
        room = self.max_length - n_new
        if room <= 0:
            return f"{n_new} new tokens do not fit the model's {self.max_length}"
        ids, _ = self._lm.tok_batch_encode([context], left_truncate_len=room)
        return Prompt(ids=tuple(ids[0].tolist()), until=tuple(until), max_new_tokens=n_new)

    def answer_text(self, tokens: Sequence[int], prompt: Prompt) -> str:
        """Return the text of an answer, cut at its stop texts."""
        from lm_eval.models.utils import postprocess_generated_text

        text = self._lm.tok_decode(list(tokens))
        return postprocess_generated_text(generation=text, stop=list(prompt.until), think_end_token=None)

    def _cut(self, context: list[int], continuation: list[int]) -> Scored:
        if not continuation or len(continuation) > self.max_length:
            what = f"a continuation of {len(continuation)} tokens cannot be scored (1 to {self.max_length} can)"
            raise StudyError(what, next_step="shorten the text, or score it as loglikelihood_rolling")
        inputs = (context + continuation)[-(self.max_length + 1) :][:-1]
        return Scored(inputs=tuple(inputs), targets=tuple(continuation))


def _capture_class() -> type:
    """Return the harness's model class with its scoring replaced by taking notes."""
    from lm_eval.models.huggingface import HFLM

    class Capture(HFLM):
        """Tokenises like ``HFLM``; instead of scoring, remembers what it was to score."""

        def pairs(self, instance: Any) -> list[tuple[list[int], list[int]]]:
            """Return (context, continuation) of everything that the request would score, in tokens."""
            self.captured: list[tuple[list[int], list[int]]] = []
            getattr(self, instance.request_type)([instance], disable_tqdm=True)
            return self.captured

        def _loglikelihood_tokens(self, requests: Any, **_: Any) -> list[tuple[float, bool]]:
            self.captured += [(list(context), list(continuation)) for _, context, continuation in requests]
            return [(0.0, False)] * len(requests)

        def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
            # The choices of a question come one after the other with the same context.
            key = (string, add_special_tokens)
            if kwargs or getattr(self, "last_key", None) != key:
                encoded = super().tok_encode(string, add_special_tokens, **kwargs)
                if kwargs or (len(string) < 64):
                    return encoded
                self.last_key, self.last_encoded = key, encoded
            return self.last_encoded

    return Capture


def run_lm_eval(
    study_folder: Path, task: Any, module: Any, tokenizer: Any, *, batch_size: int, limit: int | None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Run the harness itself, model and all, on one task.

    Its report of the machine and its clocks are not asked for; everything else is as it returns it.

    Returns:
        ``(its results as JSON values, its samples)``.
    """
    with _harness(study_folder), _task_errors(study_folder, task.config.task):
        from lm_eval import evaluate
        from lm_eval.models.huggingface import HFLM
        from lm_eval.utils import handle_non_serializable

        set_seed(HARNESS_SEED)
        task.set_fewshot_seed(seed=HARNESS_SEED)
        results = evaluate(
            lm=HFLM(pretrained=module, tokenizer=_own(tokenizer), batch_size=batch_size),
            task_dict={"tasks": {task.config.task: task}, "groups": {}}, limit=limit, log_samples=True,
            bootstrap_iters=BOOTSTRAP_ITERS, confirm_run_unsafe_code=False,
        )  # fmt: skip
        samples = results.pop("samples")[task.config.task]
    return json.loads(json.dumps(results, default=handle_non_serializable, ensure_ascii=False)), samples


def _own(tokenizer: Any) -> Any:
    """Return a tokenizer that the harness may give a padding token; it must not leak into what training saves."""
    return tokenizer if tokenizer.pad_token_id is not None else copy.deepcopy(tokenizer)


def _set(task: Any, num_fewshot: int | None, max_new_tokens: int | None) -> None:
    """Apply the study's overrides in the harness's way."""
    own = task.get_config("num_fewshot")
    if num_fewshot is not None and own != 0:
        task.set_config(key="num_fewshot", value=num_fewshot)
    elif own is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(seed=HARNESS_SEED)
    if max_new_tokens is not None and task.get_config("output_type") == "generate_until":
        own = (task.get_config("generation_kwargs") or {}).get("max_gen_toks", max_new_tokens)
        task.set_config("generation_kwargs", {"max_gen_toks": min(int(own), max_new_tokens)}, update=True)


@contextlib.contextmanager
def _harness(study_folder: Path | None) -> Iterator[Path]:
    """Import the harness, hold its tongue and stand in the study folder, which relative paths of tasks start from."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("DISABLE_MULTIPROC", "1")
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere), contextlib.redirect_stdout(nowhere):
        try:
            import lm_eval  # noqa: F401
        except ModuleNotFoundError as error:
            raise MissingExtraError(error.name or "lm_eval", "sft") from error
        logging.getLogger("lm_eval").setLevel(logging.ERROR)
        _register_metrics()
        with contextlib.chdir(study_folder) if study_folder else contextlib.nullcontext():
            yield Path(".")


@contextlib.contextmanager
def _task_errors(study_folder: Path, name: str) -> Iterator[None]:
    """Turn what a broken task file or missing data raise into a sentence that names the task."""
    try:
        yield
    except (StudyError, ArtifactError):
        raise
    except (KeyError, ValueError, TypeError, AssertionError, OSError, AttributeError, IndexError) as error:
        text = " ".join(str(error).split())[:300] or type(error).__name__
        raise StudyError(
            f"the task {name!r} cannot be used: {text}", where=str(study_folder / TASKS_FOLDER),
            next_step="compare the file with the harness's task guide; its data files are relative to the study folder",
        ) from error  # fmt: skip


def _register_metrics() -> None:
    """Make the names of our own metrics known to the harness, so that task files may use them."""
    import lm_eval.api.metrics  # noqa: F401  (the harness fills its registry only while it is empty)
    from lm_eval.api.registry import metric_registry, register_metric

    if EXECUTED_TESTS not in metric_registry:

        def executed_tests(references: Sequence[str], predictions: Sequence[str], **_: Mapping) -> float:
            """Return 1.0 when the prediction followed by the reference runs to its end."""
            from release_kit.sft.evaluate.code_tests import program_passes

            return float(program_passes(f"{predictions[0]}\n{references[0]}\n"))

        register_metric(metric=EXECUTED_TESTS, higher_is_better=True, aggregation="mean")(executed_tests)


@functools.cache
def version() -> str:
    """Return the version of lm-evaluation-harness."""
    return importlib.metadata.version("lm_eval")


def _remember_documents(task: Any) -> None:
    """Let a task render the templates of each of its documents once; it scores the same ones for cell after cell."""
    held = {id(instance.doc): instance.doc for instance in task.instances}
    for name in ("doc_to_text", "doc_to_target", "doc_to_choice"):
        setattr(task, name, _remembering(getattr(task, name), held))


def _remembering(method: Callable, held: Mapping[int, Any]) -> Callable:
    known: dict[int, Any] = {}

    @functools.wraps(method)
    def remembered(document: Any, *rest: Any) -> Any:
        # Identity is safe as a key: ``held`` keeps the documents alive.
        if rest or held.get(id(document)) is not document:
            return method(document, *rest)
        if id(document) not in known:
            known[id(document)] = method(document)
        return known[id(document)]

    return remembered
