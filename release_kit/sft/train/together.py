"""Several LoRA runs of one base in one batch: the base's work is shared, everything else is each run's own.

Every run keeps its data, order, learning rate, clipping, optimiser, log and artifacts. The frozen matrices multiply
the tokens of all runs at once; each adapter sees its own tokens only. Sums of another shape round otherwise, so the
bytes are those of the group: losses agree with a run trained alone to ``TOLERANCE``.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from release_kit.core import canonical
from release_kit.core.errors import ArtifactError
from release_kit.sft.data.packing import StepPlan, plan_steps
from release_kit.sft.spec.settings import LORA
from release_kit.sft.train.artifacts import adapter_state, save_adapter_state
from release_kit.sft.train.attention import Segments, build_segments
from release_kit.sft.train.energy import Cost, Meter
from release_kit.sft.train.log import LogRow
from release_kit.sft.train.loop import Loop
from release_kit.sft.train.loss import SEGMENTS, FlatBatch, causal_model, count_trained, head_loss, within_segments
from release_kit.sft.train.resume import State, read_state, write_state
from release_kit.sft.train.run import Job, TrainFacts
from release_kit.sft.train.warm import WarmBase

TOLERANCE = 1e-4
"""Largest relative difference of a loss to that of the run alone, in float32, over the first hundred steps."""


def worth_it(base: WarmBase, jobs: Sequence[Job]) -> bool:
    """Return whether runs should share a batch: on a GPU, where small runs leave most of it idle.

    On a processor one thread is as busy with one run as with eight (``speed_up`` measures it). A measured clock must
    not decide here, because the decision changes the last bits of the runs.
    """
    return base.device.type == "cuda" and len(jobs) > 1 and not problems(base, jobs)


def problems(base: WarmBase, jobs: Sequence[Job]) -> list[str]:
    """Return why runs cannot share a batch; an empty list when they can."""
    found = []
    loras = {job.settings.lora for job in jobs}
    if any(job.method != LORA for job in jobs):
        found.append("only LoRA runs share a batch")
    if len({(lora.rank, lora.targets) for lora in loras}) > 1:
        found.append("their adapters have different ranks or targets")
    if any(lora.dropout for lora in loras):
        found.append("dropout would draw other numbers than alone")
    if len({(job.settings.compute, job.settings.gradient_checkpointing) for job in jobs}) > 1:
        found.append("they compute in different types or recompute differently")
    if base.mode != SEGMENTS:
        found.append("this architecture keeps packed examples apart in its own way")
    return found


def train_together(
    base: WarmBase, jobs: Sequence[Job], *, folder: Path, on_step: Callable[[int, list[float]], None] | None = None
) -> list[TrainFacts | ArtifactError]:
    """Train LoRA runs of one base side by side; each leaves the artifacts that ``train_run`` would leave.

    Killed and called again with the same arguments it ends with the same bytes. A run whose loss is no number stops
    alone; the others go on.

    Args:
        base: of all runs.
        jobs: the runs; their ``keep`` and number of steps may differ.
        folder: for the state of the group.
        on_step: called after each step with (step, losses of the runs that took it).

    Returns:
        For each run what it measured, or why it stopped. Seconds, energy and memory are those of the whole group.

    Raises:
        ArtifactError: the runs cannot share a batch, or one of them cannot be trained at all.
    """
    if reasons := problems(base, jobs):
        raise ArtifactError("; ".join(reasons), where="runs in one batch", next_step="train them one by one")
    for job in jobs:
        job.check()
        job.folder.mkdir(parents=True, exist_ok=True)
    fingerprint = canonical.digest([job.fingerprint() for job in jobs])
    state = read_state(folder, fingerprint)
    if state is not None and not _complete(jobs, state):
        state = None
    for job in jobs:
        job.clear_after(-1 if state is None else state.step)
    try:
        return _Group(base, jobs, folder, fingerprint, state).run(on_step)
    finally:
        base.restore()


def _complete(jobs: Sequence[Job], state: State) -> bool:
    """Return whether every run that had not stopped has the artifacts that a state knows of."""
    return all(job.has_artifacts(state.step) for run, job in enumerate(jobs) if str(run) not in state.failures)


def speed_up(base: WarmBase, jobs: Sequence[Job], *, n_steps: int = 3) -> float:
    """Return how many times faster a step of all runs together is than their steps one after the other."""

    def seconds(group: Sequence[Job]) -> float:
        made = _Group(base, group, Path(), "", None)
        with made.installed():
            first = [next(plans) for plans in made.plans(0)]
            made.step(first)
            start = time.perf_counter()
            for _ in range(n_steps):
                made.step(first)
        return time.perf_counter() - start

    try:
        alone = sum(seconds([job]) for job in jobs)
        return alone / seconds(jobs)
    finally:
        base.restore()


@dataclass
class Layout:
    """Where the tokens of each run lie in the row that is being computed; changed before every forward pass."""

    runs: tuple[int, ...] = ()
    """Indexes of the runs that take part, in the order of their tokens."""
    segments: Segments | None = None
    """Their tokens, as if each run were one example."""


class SharedLinear(torch.nn.Module):
    """``W x + s_i · B_i A_i x`` for the tokens x of run i: one frozen matrix, one adapter for each run."""

    def __init__(self, linear: Any, adapters: Sequence[tuple[Any, Any]], scalings: Sequence[float], layout: Layout):
        super().__init__()
        self.linear, self.layout, self.scalings = linear, layout, tuple(scalings)
        self.downs = torch.nn.ParameterList([down for down, _ in adapters])
        self.ups = torch.nn.ParameterList([up for _, up in adapters])

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return (1, n_tokens, n_out) for states (1, n_tokens, n_in)."""
        runs, segments = self.layout.runs, self.layout.segments
        if segments.gather is None:
            parts = [
                (states[:, a:b] @ self.downs[run].T) @ self.ups[run].T * self.scalings[run]
                for run, (a, b) in zip(runs, segments.bounds, strict=True)
            ]
            return self.linear(states) + torch.cat(parts, dim=1)
        padded = states[0].index_select(0, segments.gather).view(len(runs), segments.longest, -1)
        downs = torch.stack([self.downs[run] * self.scalings[run] for run in runs])
        ups = torch.stack([self.ups[run] for run in runs])
        changes = torch.bmm(torch.bmm(padded, downs.transpose(1, 2)), ups.transpose(1, 2))
        return self.linear(states) + changes.reshape(-1, changes.shape[-1]).index_select(0, segments.scatter)[None]


class _Adapter:
    """The trained matrices of one run, by the names that peft gives them; what ``Loop`` needs of a model."""

    def __init__(self, base: WarmBase, job: Job):
        model = base.fresh(LORA, job.settings, job.seed)
        stored, self.config = adapter_state(model)
        self.weights = {name: torch.nn.Parameter(value.detach().clone()) for name, value in stored.items()}
        layers = {name: module for name, module in model.named_modules() if hasattr(module, "lora_A")}
        prefix = "base_model.model."
        self.places = {name.removeprefix(prefix): module.scaling["default"] for name, module in layers.items()}
        self._prefix = prefix
        base.restore()

    def named_parameters(self) -> Iterator[tuple[str, Any]]:
        """Yield (name, parameter) in a fixed order."""
        yield from sorted(self.weights.items())

    def pair(self, place: str) -> tuple[Any, Any]:
        """Return (A, B) of one module of the base."""
        names = (f"{self._prefix}{place}.lora_{part}.weight" for part in "AB")
        down, up = (self.weights[name] for name in names)
        return down, up

    def save(self, folder: Path) -> None:
        """Write the adapter as ``train_run`` writes it."""
        save_adapter_state(self.weights, self.config, folder)


class _Group:
    """Runs between two common steps."""

    def __init__(self, base: WarmBase, jobs: Sequence[Job], folder: Path, fingerprint: str, state: State | None):
        self.base, self.jobs, self.folder, self.fingerprint, self.state = base, jobs, folder, fingerprint, state
        self.adapters = [_Adapter(base, job) for job in jobs]
        self.loops = [Loop(adapter, job.setup()) for adapter, job in zip(self.adapters, jobs, strict=True)]
        self.rows: list[list[LogRow]] = [[] for _ in jobs]
        self.failed: dict[int, ArtifactError] = {}
        self.layout = Layout()
        if state is not None:
            self._load(state)

    @property
    def last(self) -> list[int]:
        """The last step of every run."""
        return [max(job.keep.values()) for job in self.jobs]

    def run(self, on_step: Callable[[int, list[float]], None] | None) -> list[TrainFacts | ArtifactError]:
        """Go on from the state, or begin."""
        before = self.state.step if self.state else 0
        meter = Meter(str(self.base.device), self.state.cost if self.state else None)
        if self.state is None:
            for job, adapter in zip(self.jobs, self.adapters, strict=True):
                job.keep_artifacts(adapter.save, [], 0)
        iterators = self.plans(before)
        with self.installed():
            for step in range(before + 1, max(self.last) + 1):
                plans = [next(plans, None) for plans in iterators]
                losses = self.step(plans)
                self._keep(step, meter.read())
                if on_step:
                    on_step(step, losses)
        cost = self.state.cost if self.state else meter.read()
        return [self.failed.get(i) or job.facts(self.rows[i], cost) for i, job in enumerate(self.jobs)]

    def plans(self, start: int) -> list[Iterator[StepPlan]]:
        """Return for every run its steps after ``start``."""
        lengths = [[len(example.ids) for example in job.examples] for job in self.jobs]
        return [
            plan_steps(own, job.settings, job.seed, max(job.keep.values()), start=min(start, max(job.keep.values())))
            for own, job in zip(lengths, self.jobs, strict=True)
        ]

    def step(self, plans: Sequence[StepPlan | None]) -> list[float]:
        """Take one optimiser step of every run that still has one; return their losses."""
        batches = {i: self.loops[i].batches(plan) for i, plan in enumerate(plans) if plan and i not in self.failed}
        losses = dict.fromkeys(batches, 0.0)
        scales = {i: 1.0 / count_trained(own) for i, own in batches.items()}
        for number in range(max(map(len, batches.values()), default=0)):
            present = {i: own[number] for i, own in batches.items() if number < len(own)}
            for run, loss in self._backward(present, scales).items():
                losses[run] += loss
        for run, own in batches.items():
            try:
                self.rows[run].append(self.loops[run].update(plans[run], own, losses[run]))
            except ArtifactError as error:
                self.failed[run] = error
        return [losses[run] for run in batches if run not in self.failed]

    def _backward(self, present: dict[int, FlatBatch], scales: dict[int, float]) -> dict[int, float]:
        """Add the gradients of one micro-batch of every run; return their parts of the losses."""
        device, batches = self.base.device, list(present.values())
        lengths = [b - a for batch in batches for a, b in batch.segments.bounds]
        self.layout.runs = tuple(present)
        self.layout.segments = build_segments([batch.n_tokens for batch in batches], device)
        causal, setup = causal_model(self.base.model), self.loops[0].setup
        options = {"dtype": torch.bfloat16, "enabled": setup.compute == "bfloat16"}
        with within_segments(causal, SEGMENTS):
            with torch.autocast(device.type, **options):
                states = causal.get_decoder()(
                    input_ids=torch.cat([batch.input_ids for batch in batches], dim=1),
                    position_ids=torch.cat([batch.position_ids for batch in batches], dim=1),
                    use_cache=False,
                    segments=build_segments(lengths, device),
                ).last_hidden_state[0]
                parts = {}
                for (run, batch), (a, b) in zip(present.items(), self.layout.segments.bounds, strict=True):
                    own = states[a:b][batch.sources]
                    head = causal.get_output_embeddings()
                    parts[run] = head_loss(head, own, batch.targets, scales[run], setup.compute)
            torch.stack(list(parts.values())).sum().backward()
        return {run: float(part.detach()) for run, part in parts.items()}

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Put the shared layers into the base for the block."""
        model, before = self.base.model, {}
        model.requires_grad_(False)
        model.train()
        for place in self.adapters[0].places:
            parent, _, name = place.rpartition(".")
            owner = model.get_submodule(parent)
            before[place] = (owner, name, getattr(owner, name))
            pairs = [adapter.pair(place) for adapter in self.adapters]
            scalings = [adapter.places[place] for adapter in self.adapters]
            setattr(owner, name, SharedLinear(before[place][2], pairs, scalings, self.layout))
        try:
            yield
        finally:
            for owner, name, linear in before.values():
                setattr(owner, name, linear)

    def _keep(self, step: int, cost: Cost) -> None:
        kept = False
        for run, job in enumerate(self.jobs):
            if run not in self.failed:
                kept |= job.keep_artifacts(self.adapters[run].save, self.rows[run], step)
        every = min(job.settings.checkpoint_every for job in self.jobs)
        ended = step == max(self.last)
        if not (kept or ended or step % every == 0):
            return
        weights, moments = {}, {}
        for run, loop in enumerate(self.loops):
            weights |= {f"{run}/{name}": value for name, value in loop.trained.items()}
            moments |= {f"{run}/{name}": pair for name, pair in loop.moments().items()}
        self.state = State(
            step=step,
            micro_batch=self.jobs[0].settings.micro_batch,
            rows=tuple(row for own in self.rows for row in own),
            cost=cost,
            weights=weights,
            moments=moments,
            failures={str(run): {"n_steps": len(self.rows[run]), **_parts(why)} for run, why in self.failed.items()},
        )
        write_state(self.folder, self.state, self.fingerprint)

    def _load(self, state: State) -> None:
        rows = iter(state.rows)
        for run, loop in enumerate(self.loops):
            failure = dict(state.failures.get(str(run), {}))
            steps = failure.pop("n_steps", min(state.step, self.last[run]))
            if failure:
                self.failed[run] = ArtifactError(failure.pop("what"), **failure)
            self.rows[run] = [next(rows) for _ in range(steps)]
            prefix = f"{run}/"
            loop.load(
                {name.removeprefix(prefix): value for name, value in state.weights.items() if name.startswith(prefix)},
                {name.removeprefix(prefix): pair for name, pair in state.moments.items() if name.startswith(prefix)},
                steps,
            )


def _parts(error: ArtifactError) -> dict[str, Any]:
    return {"what": error.what, "where": error.where, "next_step": error.next_step}
