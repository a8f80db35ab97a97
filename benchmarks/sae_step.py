"""One TopK training step: d = 768, n = 12,288, k = 32, 4,096 tokens; the same start, batches, Adam, rate and clipping.

Ways: ours in float32, with certified bfloat16, and with decoder rows of any length; SAELens as it comes, under autocast
to bfloat16, and with sparse activations (which needs its rescaling by decoder norm off); sparsify with PyTorch's Adam.
The work is not identical: SAELens counts firings, ours and sparsify keep decoder rows at length 1, sparsify's loss is
divided by the variance. Held-out FVU after the steps tells whether that matters; ``ours-free`` takes the same steps as
SAELens with sparse activations.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from types import SimpleNamespace

import numpy as np

WAYS = ("ours", "ours-certified", "ours-free", "saelens", "saelens-autocast", "saelens-sparse", "sparsify")
PEERS = ("saelens", "saelens-autocast", "saelens-sparse", "sparsify")
LR = 1e-3
N_PARTS_A_TOKEN = 20

Arrays = dict[str, np.ndarray]
Step = Callable[[], AbstractContextManager[None]]


def make(small: bool, seed: int = 0) -> Arrays:
    """Return the parts that activations are made of, and the first tensors of every way."""
    d, n, k, b = (128, 2048, 16, 1024) if small else (768, 12_288, 32, 4096)
    return _inputs(np.random.default_rng(seed), d, n, k, b)


def tiny() -> Arrays:
    """Return a problem that loads everything a step needs."""
    return _inputs(np.random.default_rng(1), 16, 256, 4, 64)


def _inputs(rng: np.random.Generator, d: int, n: int, k: int, b: int) -> Arrays:
    w = rng.standard_normal((n, d), dtype=np.float32)
    parts = rng.standard_normal((2 * d, d), dtype=np.float32) * rng.lognormal(0, 1, (2 * d, 1)).astype(np.float32)
    return {"w": w / np.linalg.norm(w, axis=1, keepdims=True), "parts": parts, "sizes": np.array([k, b])}


def load(inputs: Arrays, n_steps: int) -> SimpleNamespace:
    """Return first tensors and the batches of one untimed and ``n_steps`` timed steps, and one that is held out."""
    import torch

    k, b = (int(size) for size in inputs["sizes"])
    parts = torch.from_numpy(inputs["parts"])
    batches = [_batch(parts, b, seed) for seed in range(n_steps + 2)]
    return SimpleNamespace(w=torch.from_numpy(inputs["w"]), k=k, b=b, held_out=batches[0], batches=batches[1:])


def _batch(parts, b: int, seed: int):
    """Return (b, d) sums of a few parts of a token with exponential amounts, some noise, and length sqrt(d)."""
    import torch

    rng = torch.Generator().manual_seed(1000 + seed)
    chosen = torch.randint(len(parts), (b, N_PARTS_A_TOKEN), generator=rng)
    amounts = torch.empty(b, N_PARTS_A_TOKEN).exponential_(generator=rng)
    x = torch.nn.functional.embedding_bag(chosen, parts, mode="sum", per_sample_weights=amounts)
    x += 0.5 * torch.randn(x.shape, generator=rng)
    return x * (x.shape[1] ** 0.5 / x.norm(dim=1, keepdim=True))


def work(problem: SimpleNamespace, way: str, step: Step) -> Arrays:
    """Train on every batch, each under ``step()``; return the first loss and the held-out FVU."""
    if way.startswith("ours"):
        return _ours(problem, way, step)
    return _sparsify(problem, step) if way == "sparsify" else _saelens(problem, way, step)


def _ours(problem: SimpleNamespace, way: str, step: Step) -> Arrays:
    from release_kit.sae.step.settings import StepSettings
    from release_kit.sae.step.train import loss_and_gradients, train_step

    state = _state(problem, way)
    precision = "certified-bf16" if way == "ours-certified" else "float32"
    settings = StepSettings(lr=LR, warmup_steps=1, eps=1e-8, precision=precision)
    reports = []
    for x in problem.batches:
        with step():
            reports.append(train_step(state, x, settings))
    sae = state.sae
    found = _result(reports[0].loss, problem.held_out, sae.decode(sae.encode(problem.held_out)))
    before = _state(problem, way)
    first = loss_and_gradients(before, problem.batches[0], settings).gradients.dense(before.sae)
    gradients = {f"gradient.{name}": value.numpy() for name, value in first.items()}
    n_fallback_rows = np.array([report.n_fallback_rows for report in reports])
    return {**found, **gradients, "n_fallback_rows": n_fallback_rows}


def _state(problem: SimpleNamespace, way: str):
    import torch

    from release_kit.sae.config import SaeConfig
    from release_kit.sae.dictionary import Sae
    from release_kit.sae.step.state import TrainState

    n, d = problem.w.shape
    config = SaeConfig(architecture="topk", d_in=d, n_features=n, k=problem.k, unit_norm_decoder=way != "ours-free")
    sae = Sae(config=config, w_enc=problem.w, b_enc=torch.zeros(n), w_dec=problem.w, b_dec=torch.zeros(d))
    return TrainState.continued(sae, 0)


def _saelens(problem: SimpleNamespace, way: str, step: Step) -> Arrays:
    import torch
    from sae_lens.config import SAETrainerConfig
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.training.sae_trainer import SAETrainer

    n, d = problem.w.shape
    sparse = {"use_sparse_activations": True, "rescale_acts_by_decoder_norm": False}
    sae = TopKTrainingSAE(
        TopKTrainingSAEConfig(d_in=d, d_sae=n, k=problem.k, **(sparse if way == "saelens-sparse" else {}))
    )
    with torch.no_grad():
        sae.W_enc.copy_(problem.w.T)
        sae.W_dec.copy_(problem.w)
    config = SAETrainerConfig(
        total_training_samples=problem.b * len(problem.batches),
        train_batch_size_samples=problem.b,
        lr=LR,
        lr_end=LR,
        autocast=way == "saelens-autocast",
    )
    trainer = SAETrainer(config, sae, iter(()))
    losses = []
    for x in problem.batches:
        with step():
            losses.append(trainer.step(x).loss.detach())
            trainer.n_training_steps += 1
    with torch.no_grad():
        return _result(float(losses[0]), problem.held_out, sae.eval()(problem.held_out))


def _sparsify(problem: SimpleNamespace, step: Step) -> Arrays:
    import torch
    from sparsify.config import SparseCoderConfig
    from sparsify.sparse_coder import SparseCoder

    n, d = problem.w.shape
    coder = SparseCoder(d, SparseCoderConfig(num_latents=n, k=problem.k))
    with torch.no_grad():
        coder.encoder.weight.copy_(problem.w)
        coder.W_dec.copy_(problem.w)
    adam = torch.optim.Adam(coder.parameters(), lr=LR, fused=True)
    losses = []
    for x in problem.batches:
        with step():
            coder.set_decoder_norm_to_unit_norm()
            out = coder(x)
            losses.append(out.fvu.detach())
            out.fvu.backward()
            coder.remove_gradient_parallel_to_decoder_directions()
            torch.nn.utils.clip_grad_norm_(coder.parameters(), 1.0)
            adam.step()
            adam.zero_grad()
            del out
    first = problem.batches[0].double()
    scale = float((first - first.mean(0)).square().sum()) / len(first)
    with torch.no_grad():
        return _result(float(losses[0]) * scale, problem.held_out, coder(problem.held_out).sae_out)


def _result(first_loss: float, x, reconstruction) -> Arrays:
    x, reconstruction = x.double(), reconstruction.double()
    fvu = float((reconstruction - x).square().sum() / (x - x.mean(0)).square().sum())
    return {"first_loss": np.array(first_loss), "held_out_fvu": np.array(fvu)}


def compare(inputs: Arrays, results: dict[str, Arrays]) -> dict:
    """Return how far first losses and gradients are from dense autograd in float64, and the held-out FVU of each way.

    Gradients: |g - g64| / |g64| of each parameter. FVU: also relative to the first way of SAELens.
    """
    problem = load(inputs, 0)
    loss, gradients = _dense_float64(problem)
    fvu = {way: float(found["held_out_fvu"]) for way, found in results.items()}
    against = fvu.get("saelens")
    return {
        "loss_relative_error": {way: abs(float(found["first_loss"]) / loss - 1) for way, found in results.items()},
        "gradient_relative_error": {
            way: {name: _distance(found[f"gradient.{name}"], value) for name, value in gradients.items()}
            for way, found in results.items()
            if "gradient.w_enc" in found
        },
        "fallback_rows_each_step": {
            way: found["n_fallback_rows"].tolist() for way, found in results.items() if "n_fallback_rows" in found
        },
        "held_out_fvu": fvu,
        "held_out_fvu_over_saelens": {way: one / against for way, one in fvu.items()} if against else None,
    }


def _distance(found: np.ndarray, judge: np.ndarray) -> float:
    return float(np.linalg.norm(found.astype(np.float64) - judge) / np.linalg.norm(judge))


def _dense_float64(problem: SimpleNamespace) -> tuple[float, Arrays]:
    """Return loss and gradients of the first batch from dense arrays, rows in blocks."""
    import torch

    n, d = problem.w.shape
    w_enc, w_dec = (problem.w.double().requires_grad_() for _ in range(2))
    b_enc, b_dec = (torch.zeros(size, dtype=torch.float64, requires_grad=True) for size in (n, d))
    total = 0.0
    for x in problem.batches[0].double().split(256):
        pre = ((x - b_dec) @ w_enc.T + b_enc).relu()
        kept = pre.topk(problem.k, dim=1)
        z = torch.zeros_like(pre).scatter(1, kept.indices, kept.values)
        loss = (z @ w_dec + b_dec - x).square().sum() / len(problem.batches[0])
        loss.backward()
        total += float(loss.detach())
    named = {"w_enc": w_enc, "b_enc": b_enc, "w_dec": w_dec, "b_dec": b_dec}
    return total, {name: value.grad.numpy() for name, value in named.items()}
