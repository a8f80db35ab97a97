"""Training speed beside TRL: the same examples on the same base, interleaved, one thread, each in its own process.

    python benchmarks/sft_training.py BASE                 steps on one base model: ours, TRL packed, TRL padded
    python benchmarks/sft_training.py BASE --grid 100      many tiny runs: one warm process beside a process per run

Prints processor seconds, wall time, tokens of the data per processor second and peak memory, and the ratios. A token
counts once, whether it was padded or not. Start-up is not part of a step's time; it is part of the grid's.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
KINDS = ("ours", "trl-packed", "trl-packed-no-recompute", "trl-padded")


def main() -> None:
    """Run the side that a child was asked for, or all sides one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("--grid", type=int, metavar="RUNS")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--mean-length", type=int, default=150)
    parser.add_argument("--method", choices=("full", "lora"), default="full")
    parser.add_argument("--compute", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--kinds", nargs="+", default=[kind for kind in KINDS])
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--index", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print("RESULT " + json.dumps(run_child(options)))
    elif options.grid:
        compare_grid(options)
    else:
        compare_steps(options)


def compare_steps(options: argparse.Namespace) -> None:
    """Interleave the sides and print medians and ratios to ours."""
    found: dict[str, list[dict]] = {kind: [] for kind in options.kinds}
    for _ in range(options.rounds):
        for kind in options.kinds:
            found[kind].append(spawn(kind, options))
            print(kind, found[kind][-1], file=sys.stderr)
    medians = {kind: _median(results) for kind, results in found.items()}
    ours = medians["ours"]
    print(f"{'':26}{'tok/CPU-s':>11}{'CPU-s':>9}{'wall s':>9}{'peak MB':>9}{'ours is':>11}{'memory':>9}")
    for kind, m in medians.items():
        rate, own = m["n_tokens"] / m["cpu_s"], ours["n_tokens"] / ours["cpu_s"]
        print(
            f"{kind:26}{rate:11.1f}{m['cpu_s']:9.1f}{m['wall_s']:9.1f}{m['peak_mb']:9.0f}"
            f"{own / rate:10.2f}x{ours['peak_mb'] / m['peak_mb']:9.2f}"
        )


def compare_grid(options: argparse.Namespace) -> None:
    """Compare N runs in one warm process with a TRL process per run; TRL is measured on a few and scaled."""
    sample = min(options.grid, 4)
    trl = []
    for index in range(sample):
        options.index = index
        start = time.perf_counter()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        spawn("trl-packed", options)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        trl.append((_cpu(after) - _cpu(before), time.perf_counter() - start))
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    spawn("ours-grid", options)
    cpu, wall = _cpu(resource.getrusage(resource.RUSAGE_CHILDREN)) - _cpu(before), time.perf_counter() - start
    trl_cpu, trl_wall = (statistics.mean(part) * options.grid for part in zip(*trl, strict=True))
    print(
        f"{options.grid} runs of {options.steps} steps, start-up included (TRL: mean of {sample} runs x {options.grid})"
    )
    print(f"ours  {cpu:9.1f} CPU-s {wall:9.1f} s\nTRL   {trl_cpu:9.1f} CPU-s {trl_wall:9.1f} s")
    print(f"ratio {trl_cpu / cpu:9.1f} x    {trl_wall / wall:9.1f} x")


def spawn(kind: str, options: argparse.Namespace) -> dict:
    """Run one side in a process of its own and return what it measured."""
    names = ("grid", "steps", "batch", "max_length", "mean_length", "method", "compute", "index")
    given = [
        f"--{name.replace('_', '-')}={getattr(options, name)}" for name in names if getattr(options, name) is not None
    ]
    command = [sys.executable, __file__, str(options.base), "--child", kind, *given]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **ONE_THREAD}, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if done.returncode or not lines:
        raise SystemExit(f"{kind} failed:\n{done.stderr[-3000:]}")
    return json.loads(lines[-1].removeprefix("RESULT "))


def run_child(options: argparse.Namespace) -> dict:
    """Run one side in this process."""
    if options.child == "ours":
        return ours(options)
    if options.child == "ours-grid":
        return ours_grid(options)
    return trl(options, options.child)


def make_examples(options: argparse.Namespace, vocabulary: int, seed: int = 0) -> list[dict]:
    """Return examples whose lengths and completion shares are like those of instruction data."""
    import numpy as np

    random = np.random.default_rng(seed)
    examples = []
    for _ in range(options.batch * options.steps):
        n = int(np.clip(random.lognormal(np.log(options.mean_length), 0.5), 8, options.max_length))
        mask = (np.arange(n) >= n // 2).astype(int)
        examples.append({"input_ids": random.integers(3, vocabulary, n).tolist(), "completion_mask": mask.tolist()})
    return examples


def ours(options: argparse.Namespace) -> dict:
    """Take release_kit's optimiser steps, without files: TRL saves nothing here either."""
    from release_kit.sft.data.packing import plan_steps
    from release_kit.sft.train.loop import Loop, Setup
    from release_kit.sft.train.warm import WarmBase

    warm, settings = WarmBase(options.base), _settings(options)
    examples = _token_examples(make_examples(options, warm.model.config.vocab_size))
    setup = Setup(
        examples=examples, settings=settings, seed=0, n_steps=options.steps, mode=warm.mode, compute=options.compute,
        pad_id=0,
    )  # fmt: skip
    loop = Loop(warm.fresh(options.method, settings, 0), setup)
    start, lengths = (time.process_time(), time.perf_counter()), [len(example.ids) for example in examples]
    rows = [loop.step(plan) for plan in plan_steps(lengths, settings, 0, options.steps)]
    return _result(start, (time.process_time(), time.perf_counter()), sum(row.n_tokens for row in rows))


def ours_grid(options: argparse.Namespace) -> dict:
    """Train many tiny runs from one warm base."""
    from release_kit.sft.train.run import train_run
    from release_kit.sft.train.warm import WarmBase

    warm, start, n_tokens = WarmBase(options.base), (time.process_time(), time.perf_counter()), 0
    with tempfile.TemporaryDirectory() as folder:
        for index in range(options.grid):
            examples = _token_examples(make_examples(options, warm.model.config.vocab_size, index))
            facts = train_run(
                warm, examples, _settings(options), method=options.method, seed=index, keep={"final": options.steps},
                folder=Path(folder) / str(index),
            )  # fmt: skip
            n_tokens += facts.n_tokens
    return _result(start, (time.process_time(), time.perf_counter()), n_tokens)


def trl(options: argparse.Namespace, kind: str) -> dict:
    """Train with TRL's SFTTrainer: packed (best fit decreasing), that without recomputing, or padded (its default)."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(options.base)
    model = AutoModelForCausalLM.from_pretrained(options.base, dtype=torch.float32)
    rows = make_examples(options, model.config.vocab_size, options.index)
    times: list[tuple[float, float]] = []

    class Clock(TrainerCallback):
        def on_train_begin(self, *args: object, **kwargs: object) -> None:
            times.append((time.process_time(), time.perf_counter()))

        def on_step_end(self, *args: object, **kwargs: object) -> None:
            times.append((time.process_time(), time.perf_counter()))

    packed = kind.startswith("trl-packed")
    n_tokens = sum(len(row["input_ids"]) for row in rows)
    n_rows = -(-n_tokens // options.max_length)
    with tempfile.TemporaryDirectory() as folder:
        config = SFTConfig(
            output_dir=folder, max_length=options.max_length, packing=packed, completion_only_loss=True,
            per_device_train_batch_size=max(1, n_rows // options.steps) if packed else options.batch,
            num_train_epochs=1, learning_rate=1e-5, lr_scheduler_type="constant", report_to=[], save_strategy="no",
            use_cpu=True, bf16=options.compute == "bfloat16", disable_tqdm=True, logging_strategy="no",
            dataset_num_proc=None, gradient_checkpointing="no-recompute" not in kind and kind != "trl-padded-plain",
            eos_token=tokenizer.eos_token,
        )  # fmt: skip
        adapter = None
        if options.method == "lora":
            from peft import LoraConfig

            adapter = LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, target_modules="all-linear")
        trainer = SFTTrainer(
            model=model, args=config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer,
            peft_config=adapter, callbacks=[Clock()],
        )  # fmt: skip
        trainer.train()
    return _result(times[0], times[-1], n_tokens)


def _settings(options: argparse.Namespace) -> object:
    from release_kit.sft.spec.settings import TrainingSettings

    return TrainingSettings(
        batch_size=options.batch, max_length=options.max_length, learning_rate=1e-5, steps=options.steps,
        compute=options.compute, checkpoint_every=10**6,
    )  # fmt: skip


def _token_examples(rows: list[dict]) -> list:
    import numpy as np

    from release_kit.sft.data.tokens import TokenExample

    return [
        TokenExample(ids=np.array(row["input_ids"], dtype=np.int32), loss=np.array(row["completion_mask"], dtype=bool))
        for row in rows
    ]


def _result(start: tuple[float, float], end: tuple[float, float], n_tokens: int) -> dict:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"cpu_s": end[0] - start[0], "wall_s": end[1] - start[1], "n_tokens": n_tokens, "peak_mb": peak}


def _median(results: list[dict]) -> dict:
    return {name: statistics.median(result[name] for result in results) for name in results[0]}


def _cpu(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
