"""Layer changes of SmolLM2-size models beside `modeldelta`, in turns on the same warm files, one thread each.

    python benchmarks/sft_layers.py [--models 6] [--rounds 2] [--layers 30] [--peer-models 1]

Makes a base of random bfloat16 weights in the shape of SmolLM2-135M (269 MB) and three copies with small changes, then
measures them again and again. ``none``, ``sample`` and ``all`` are the ranks that our way computes beside Frobenius
norm and cosine; the sha256 of every model, by which parts are remembered, is counted. `modeldelta` computes effective
ranks of all matrices and no stable ranks. Every way is a process of its own; CPU seconds and peak memory are those of
the process, less those of one that measures nothing; the interpreter's start is therefore not counted.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

HIDDEN, INTERMEDIATE, KEY_VALUE, VOCABULARY = 576, 1536, 192, 49152
N_COPIES = 3
WAYS = ("none", "sample", "all", "modeldelta")


def main() -> None:
    """Run all ways and print one JSON object: the best of all rounds for each model, and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=6, help="models that our ways measure in one process")
    parser.add_argument("--peer-models", type=int, default=1, help="models that modeldelta measures in one process")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(json.loads(options.child))))
        return
    with tempfile.TemporaryDirectory(prefix="layers-bench-") as folder:
        write_models(Path(folder), options.layers)
        print(json.dumps(compare(Path(folder), options), indent=1))


def compare(folder: Path, options: argparse.Namespace) -> dict:
    """Return the figures of every way; the ways take turns within a round."""
    best: dict[str, dict] = {}
    for _ in range(options.rounds):
        for way in WAYS:
            n = options.peer_models if way == "modeldelta" else options.models
            empty, full = (run_child({"folder": str(folder), "way": way, "n_models": k}) for k in (0, n))
            if "missing" in full:
                best[way] = full
                continue
            found = {
                "cpu_s_per_model": round((full["cpu_s"] - empty["cpu_s"]) / n, 3),
                "wall_s_per_model": round((full["wall_s"] - empty["wall_s"]) / n, 3),
                "peak_mb_above_start": round(full["peak_mb"] - empty["peak_mb"], 1),
            }
            best[way] = min(best.get(way, found), found, key=lambda figures: figures["cpu_s_per_model"])
            print(json.dumps({way: found}), file=sys.stderr, flush=True)
    report = {
        "models": f"{options.layers} layers, hidden {HIDDEN}, vocabulary {VOCABULARY}, bfloat16",
        "largest_tensor_mb": round(2 * VOCABULARY * HIDDEN / 1e6, 1),
        "rounds": options.rounds,
        "ways": best,
        "cpu_min_for_1000_models": {
            way: round(figures["cpu_s_per_model"] * 1000 / 60, 1)
            for way, figures in best.items()
            if "missing" not in figures
        },
    }
    if "missing" not in best["modeldelta"]:
        peer = best["modeldelta"]["cpu_s_per_model"]
        report["modeldelta_over_ours"] = {way: round(peer / best[way]["cpu_s_per_model"], 1) for way in WAYS[:3]}
    return report


def run_child(task: dict) -> dict:
    """Measure in a process of its own, one thread."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--child", json.dumps(task)]
    return json.loads(subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE).stdout)


def measure(task: dict) -> dict:
    """Measure ``n_models`` models in this process."""
    folder = Path(task["folder"])
    try:
        work = with_modeldelta if task["way"] == "modeldelta" else with_release_kit
        start, wall = time.process_time(), time.monotonic()
        work(folder, islice(cycle(range(N_COPIES)), task["n_models"]), task["way"])
    except ModuleNotFoundError as error:
        return {"missing": f"{error.name} is not installed"}
    # Not ru_maxrss: a child inherits the peak of the process that started it.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024
    return {"cpu_s": time.process_time() - start, "wall_s": time.monotonic() - wall, "peak_mb": peak}


def with_release_kit(folder: Path, copies, ranks: str) -> None:
    """Our way: digest, then every tensor beside its base."""
    import scipy.sparse.linalg  # noqa: F401

    from release_kit.core.hashing import hash_file
    from release_kit.sft.measure.changes import Base, measure_changes
    from release_kit.sft.measure.store import one_thread

    with Base(folder / "base") as base, one_thread():
        for copy in copies:
            model = folder / f"model-{copy}"
            hash_file(model / "model.safetensors", tensors=False, git=False)
            measure_changes(base, model, ranks=ranks)


def with_modeldelta(folder: Path, copies, _: str) -> None:
    """The peer's way, through the function that its command calls."""
    import torch
    from modeldelta.core.weight_diff import compare_models
    from modeldelta.utils.model_loader import get_tensor_map

    torch.set_num_threads(1)
    for copy in copies:
        compare_models(get_tensor_map(str(folder / "base")), get_tensor_map(str(folder / f"model-{copy}")), top_k=20)


def write_models(folder: Path, n_layers: int) -> None:
    """Write the base and its changed copies."""
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(0)

    def random(shape: tuple[int, ...], scale: float) -> torch.Tensor:
        return scale * torch.randn(shape, generator=generator)

    base = {name: random(shape, 0.05).bfloat16() for name, shape in shapes(n_layers).items()}
    for name in ("base", *(f"model-{copy}" for copy in range(N_COPIES))):
        (folder / name).mkdir()
        changed = (
            base if name == "base" else {k: (t.float() + random(t.shape, 5e-4)).bfloat16() for k, t in base.items()}
        )
        save_file(changed, folder / name / "model.safetensors", metadata={"format": "pt"})


def shapes(n_layers: int) -> dict[str, tuple[int, ...]]:
    """Return the tensors of SmolLM2-135M with another number of layers."""
    found: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (VOCABULARY, HIDDEN),
        "model.norm.weight": (HIDDEN,),
    }
    for layer in range(n_layers):
        inside = {
            "self_attn.q_proj": (HIDDEN, HIDDEN), "self_attn.k_proj": (KEY_VALUE, HIDDEN),
            "self_attn.v_proj": (KEY_VALUE, HIDDEN), "self_attn.o_proj": (HIDDEN, HIDDEN),
            "mlp.gate_proj": (INTERMEDIATE, HIDDEN), "mlp.up_proj": (INTERMEDIATE, HIDDEN),
            "mlp.down_proj": (HIDDEN, INTERMEDIATE), "input_layernorm": (HIDDEN,),
            "post_attention_layernorm": (HIDDEN,),
        }  # fmt: skip
        found |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in inside.items()}
    return found


if __name__ == "__main__":
    main()
