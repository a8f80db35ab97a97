"""All benchmarks of fine-tuning studies, one after the other: training, the grid, evaluation, layer changes, the plan.

    python benchmarks/sft.py [--small] [--inputs FOLDER]

Each part also runs alone (``sft_training.py``, ``sft_evaluation.py``, ``sft_layers.py``) and says what it is compared
with. SmolLM2-135M and the questions come out of installed and pinned packages, a small base is pre-trained for the
grid; they are kept in ``--inputs``. Ways take turns inside a part; nothing else should be running. TRL is needed:
``pip install trl``. Recorded figures are in ``docs/log.md``.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STUDY = """
schema_version: 1
name: benchmark-inputs
version: "1"
factors:
  base_model:
    SmolLM2-135M-Instruct: {path: bases/smollm2, source: smollm2}
    tiny:
      path: bases/tiny
      license: mit
      source:
        pretrain:
          text: [mmlu]
          tokenizer: {vocab_size: 2048}
          model: {hidden_size: 64, n_layers: 4, n_heads: 4}
          steps: 20
          batch: 8
          seq_len: 128
          learning_rate: 4.0e-3
          seed: 0
  dataset: {none: {}}
  method: [none]
settings:
  evaluation: {tasks: [commonsense_csqa]}
"""
HERE = Path(__file__).resolve().parent


def main() -> int:
    """Run every part; return 1 when one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a short run of everything, to try it out")
    parser.add_argument("--inputs", type=Path, help="folder that keeps base models and questions")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        inputs = options.inputs or Path(scratch)
        prepare(inputs)
        failed = [name for name, command in parts(inputs, options.small) if not run(name, command)]
    plan()
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def prepare(inputs: Path) -> None:
    """Make base models and questions, unless they are there."""
    inputs.mkdir(parents=True, exist_ok=True)
    (inputs / "study.yaml").write_text(STUDY, encoding="utf-8")
    command = [sys.executable, "-m", "release_kit", "sft", "prepare", str(inputs)]
    subprocess.run(command, check=True)


def parts(inputs: Path, small: bool) -> list[tuple[str, list[str]]]:
    """Return (title, command line) of every part."""
    paths = ("bases/smollm2", "bases/tiny", "data/commonsense-qa-test.jsonl")
    large, tiny, questions = (str(inputs / path) for path in paths)
    training, evaluation, layers = (f"sft_{name}.py" for name in ("training", "evaluation", "layers"))
    rounds = ["--rounds", "1"] if small else []
    return [
        ("training, full", [training, large, *rounds, *(["--steps", "1"] if small else [])]),
        ("training, LoRA", [training, large, "--method", "lora", *rounds, *(["--steps", "1"] if small else [])]),
        ("grid of tiny runs", [training, tiny, "--grid", "4" if small else "100", "--steps", "10", *rounds]),
        ("evaluation", [evaluation, large, questions, *rounds, *(["--limit", "8"] if small else [])]),
        ("layer changes", [layers, *rounds, *(["--layers", "4"] if small else [])]),
    ]


def run(title: str, command: list[str]) -> bool:
    """Run one part and return whether it went well."""
    print(f"== {title}", flush=True)
    return subprocess.run([sys.executable, str(HERE / command[0]), *command[1:]], check=False).returncode == 0


def plan() -> None:
    """Time the plan of the published grid: 1,070 cells of 341 runs."""
    study = HERE.parent / "studies" / "massive-sft.yaml"
    command = [sys.executable, "-m", "release_kit", "sft", "plan", str(study), "--json"]
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    print(f"== plan of 1,070 cells\n{time.perf_counter() - start:.2f} s, start of the interpreter included")


if __name__ == "__main__":
    sys.exit(main())
