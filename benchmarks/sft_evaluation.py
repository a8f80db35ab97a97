"""Evaluation speed beside lm-evaluation-harness: the same tasks on the same model in memory, in turns, one thread.

    python benchmarks/sft_evaluation.py BASE DATA.jsonl [--limit 50] [--rounds 2] [--case five-shot]

BASE is a model that transformers reads; DATA holds ``prompt``, ``choices`` and ``answer`` on every line (the file
``data/commonsense-qa-test.jsonl`` of a prepared study does). Cases: five choices without examples; with five examples,
the same for all questions, and drawn anew for each; perplexity of whole texts; greedy answers of 24 tokens. Both sides
build prompts, tokenise, compute and score; loading the model is part of neither, and our cache is emptied each time.
Scores must agree within 1e-6; how many log-likelihoods the harness changes between batch sizes is counted too.
"""

import argparse
import contextlib
import json
import math
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

BATCH_SIZES = (1, 8, 32)
_MEAN = {"aggregation": "mean", "higher_is_better": True}
_CHOICE = {
    "output_type": "multiple_choice", "doc_to_text": "{{prompt}}", "doc_to_choice": "{{choices}}",
    "doc_to_target": "answer", "metric_list": [{"metric": "acc", **_MEAN}, {"metric": "acc_norm", **_MEAN}],
}  # fmt: skip
_FIVE = {"num_fewshot": 5, "fewshot_split": "train"}
CASES = {
    "zero-shot": _CHOICE,
    "five-shot": {**_CHOICE, **_FIVE, "fewshot_config": {"sampler": "first_n"}},
    "five-shot-drawn": {**_CHOICE, **_FIVE},
    "perplexity": {
        "output_type": "loglikelihood_rolling", "doc_to_text": "",
        "doc_to_target": "{{prompt}} {{choices | join(', ')}}",
        "metric_list": [
            {"metric": "word_perplexity", "aggregation": "weighted_perplexity", "higher_is_better": False},
        ],
    },
    "answers": {
        "output_type": "generate_until", "doc_to_text": "{{prompt}}", "doc_to_target": "{{choices[answer]}}",
        "generation_kwargs": {"until": ["\n"], "do_sample": False, "max_gen_toks": 24},
        "metric_list": [{"metric": "exact_match", **_MEAN}],
    },
}  # fmt: skip


def main() -> None:
    """Run the cases and print one JSON object with medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--limit", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--case", default="", help="only cases whose name holds this text")
    options = parser.parse_args()
    report: dict[str, Any] = {"limit": options.limit, "rounds": options.rounds, "cases": {}}
    with tempfile.TemporaryDirectory(prefix="evaluation-bench-") as folder:
        study = write_study(Path(folder), options.data)
        sides = Sides(study, options.base.resolve(), options.limit)
        for name in CASES:
            if options.case in name:
                report["cases"][name] = measure_case(sides, name, options.rounds)
                print(json.dumps({name: report["cases"][name]}, indent=1), file=sys.stderr, flush=True)
    print(json.dumps(report, indent=1))


def write_study(folder: Path, data: Path) -> Path:
    """Write the tasks beside the data; the last lines of the data are the examples."""
    import yaml

    lines = data.read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "data").mkdir()
    (folder / "data" / "test.jsonl").write_text("".join(lines[:-20]), encoding="utf-8")
    (folder / "data" / "train.jsonl").write_text("".join(lines[-20:]), encoding="utf-8")
    (folder / "tasks").mkdir()
    files = {"test": "data/test.jsonl", "train": "data/train.jsonl"}
    common = {"dataset_path": "json", "dataset_kwargs": {"data_files": files}, "test_split": "test"}
    for name, task in CASES.items():
        text = yaml.safe_dump({"task": name, **common, **task, "metadata": {"version": 1.0}})
        (folder / "tasks" / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder


class Sides:
    """Both sides with the model loaded, so that only evaluating is timed."""

    def __init__(self, study: Path, base: Path, limit: int):
        from release_kit.sft.evaluate.model import EvalModel, open_model
        from release_kit.sft.runtime import prepare_runtime

        prepare_runtime(threads=1)
        self.study, self.limit, self.model = study, limit, EvalModel(base=base)
        self._base, self._models = base, {}
        for batch_size in BATCH_SIZES:
            self.harness_model(batch_size)
        with open_model(self.model):
            pass

    def harness_model(self, batch_size: int) -> Any:
        """Return the harness's model class around one shared module."""
        from lm_eval.models.huggingface import HFLM

        if not self._models:
            self._models[1] = HFLM(pretrained=str(self._base), dtype="float32", device="cpu", batch_size=1)
        if batch_size not in self._models:
            first = self._models[1]
            self._models[batch_size] = HFLM(pretrained=first.model, tokenizer=first.tokenizer, batch_size=batch_size)
        return self._models[batch_size]

    def warm_up(self, name: str) -> None:
        """Let both sides import and build what is built once a process."""
        limit, self.limit = self.limit, 2
        self.ours(name)
        self.theirs(name, BATCH_SIZES[0])
        self.limit = limit

    def ours(self, name: str) -> tuple[dict[str, float], list[float]]:
        """Return (scores, log-likelihoods) of one task with nothing remembered."""
        import shutil

        import pyarrow.parquet as pq

        from release_kit.sft.evaluate import tasks
        from release_kit.sft.evaluate.run import evaluate_cell
        from release_kit.sft.spec.settings import EvaluationSettings

        shutil.rmtree(self.study / ".release_kit", ignore_errors=True)
        tasks._PREPARED.clear()
        tasks._ENCODED.clear()
        settings = EvaluationSettings(tasks=(name,), limit=self.limit)
        out = self.study / "out"
        (path,) = evaluate_cell(self.study, self.model, settings, out)
        document = json.loads(path.read_bytes())
        if document["config"]["scorer"]["name"] != "fast":
            raise SystemExit(f"not the fast scorer: {document['config']['scorer']}")
        answers = pq.read_table(out / f"{name}.samples.parquet").column("loglikelihoods").to_pylist()
        return scores_of(document["results"][name]), [value for row in answers for value in row or ()]

    def theirs(self, name: str, batch_size: int) -> tuple[dict[str, float], list[float]]:
        """Return (scores, log-likelihoods) of one task by the harness."""
        from lm_eval import evaluate
        from lm_eval.tasks import TaskManager

        with contextlib.chdir(self.study):
            loaded = TaskManager(include_path="tasks", include_defaults=False).load([name])
            loaded["tasks"][name].set_fewshot_seed(1234)
            if loaded["tasks"][name].get_config("num_fewshot") is None:
                loaded["tasks"][name].set_config("num_fewshot", 0)
            found = evaluate(self.harness_model(batch_size), loaded, limit=self.limit, bootstrap_iters=0)
        samples = sorted(found["samples"][name], key=lambda sample: sample["doc_id"])
        answers = [response[0] for sample in samples for response in sample["resps"]]
        values = [answer[0] if isinstance(answer, tuple) else answer for answer in answers]
        return scores_of(found["results"][name]), [value for value in values if isinstance(value, float)]


def measure_case(sides: Sides, name: str, rounds: int) -> dict[str, Any]:
    """Take turns, check the scores, and return medians with ratios to ours."""
    ways = {"ours": lambda: sides.ours(name)}
    ways |= {f"lm_eval batch {size}": (lambda size=size: sides.theirs(name, size)) for size in BATCH_SIZES}
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    found: dict[str, tuple[dict[str, float], list[float]]] = {}
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        sides.warm_up(name)
    for _ in range(rounds):
        for way, call in ways.items():
            cpu, wall = time.process_time(), time.perf_counter()
            with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
                found[way] = call()
            times[way].append((time.process_time() - cpu, time.perf_counter() - wall))
    medians = {way: [statistics.median(part) for part in zip(*spent, strict=True)] for way, spent in times.items()}
    own_cpu, own_wall = medians["ours"]
    reference = found["lm_eval batch 1"]
    return {
        "seconds": {way: {"cpu": round(cpu, 2), "wall": round(wall, 2)} for way, (cpu, wall) in medians.items()},
        "ours is faster by (cpu)": {way: round(cpu / own_cpu, 2) for way, (cpu, _) in medians.items() if way != "ours"},
        "ours is faster by (wall)": {way: round(w / own_wall, 2) for way, (_, w) in medians.items() if way != "ours"},
        "scores": found["ours"][0],
        "scores differ": {way: differing(found[way][0], reference[0]) for way in ways},
        "largest difference of a log-likelihood": {
            way: max((abs(a - b) for a, b in zip(values, reference[1], strict=True)), default=None)
            for way, (_, values) in found.items()
        },
    }


def scores_of(measured: dict[str, Any]) -> dict[str, float]:
    """Return the scores that both sides have."""
    return {
        key: value
        for key, value in measured.items()
        if "," in key and "_stderr" not in key and not key.startswith("extraction_failure")
    }


def differing(one: dict[str, float], other: dict[str, float]) -> list[str]:
    """Return the scores that are further apart than 1e-6."""
    return [key for key in other if not math.isclose(one[key], other[key], rel_tol=1e-6, abs_tol=1e-6)]


if __name__ == "__main__":
    main()
