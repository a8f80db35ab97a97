"""One run over several processes: ``accelerate launch`` or ``torchrun`` start them, ``train_distributed`` joins them.

The micro-batches of a step are divided over the processes and the gradients summed, so that the step optimises what
one process would optimise. With ``sharded`` every decoder layer is split over the processes (FSDP: weights, gradients
and moments), for models that one GPU does not hold; embedding, last norm and head stay whole in each. Artifacts and
states are those of ``run.py``, written by the first process from gathered weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.distributed.tensor import DTensor, distribute_tensor

from release_kit.core import canonical
from release_kit.core.errors import ArtifactError
from release_kit.sft.data.packing import StepPlan, plan_steps
from release_kit.sft.runtime import set_seed
from release_kit.sft.spec.settings import TrainingSettings
from release_kit.sft.train.artifacts import save_full, save_model
from release_kit.sft.train.energy import Meter
from release_kit.sft.train.log import LogRow
from release_kit.sft.train.loop import Loop, Setup, step_seed
from release_kit.sft.train.loss import FlatBatch, causal_model, completion_loss, count_trained, within_segments
from release_kit.sft.train.resume import State, read_state, write_state
from release_kit.sft.train.run import Job, OnStep, TrainFacts
from release_kit.sft.train.warm import WarmBase


@dataclass(frozen=True, kw_only=True)
class Processes:
    """The processes of one run."""

    rank: int
    n: int

    @property
    def first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def wait(self) -> None:
        """Return when all processes have come here."""
        distributed.barrier()


def join(device: str = "cpu") -> Processes:
    """Join the processes that were started together (gloo on processors, NCCL on GPUs).

    Raises:
        ArtifactError: this process was not started by ``accelerate launch`` or ``torchrun``.
    """
    from accelerate import PartialState

    state = PartialState(cpu=device == "cpu")
    if not distributed.is_initialized():
        step = "start it with `accelerate launch` or `torchrun --nproc-per-node N`, or call train_run"
        raise ArtifactError("there is no group of processes to join", where="distributed training", next_step=step)
    return Processes(rank=state.process_index, n=state.num_processes)


def train_distributed(
    base: WarmBase,
    examples: Sequence[Any],
    settings: TrainingSettings,
    *,
    method: str,
    seed: int,
    keep: Mapping[str, int],
    folder: Path,
    sharded: bool = False,
    on_step: OnStep | None = None,
) -> TrainFacts:
    """Do what ``train_run`` does, in every process of a group, with the same arguments in each.

    Sums have another order than in one process: losses agree with ``train_run`` to rounding. Killed and started again
    with as many processes, the run ends with the same bytes; ``folder`` must be shared.

    Args:
        base: of this process, on its own device. With ``sharded`` it cannot be trained from again.
        examples: all examples of the run.
        settings: of the run; use at least as many micro-batches a step as there are processes.
        method: ``full`` or ``lora``.
        seed: of the run.
        keep: label → step.
        folder: of the run.
        sharded: split the decoder layers over the processes.
        on_step: called in every process after each step.

    Raises:
        ArtifactError, DataError: as ``train_run``; in every process alike.
    """
    processes = join(base.device.type)
    job = Job(base=base, examples=examples, settings=settings, method=method, seed=seed, keep=dict(keep), folder=folder)
    job.check()
    fingerprint = canonical.digest([job.fingerprint(), processes.n, sharded])
    state = read_state(folder, fingerprint)
    if state is not None and not job.has_artifacts(state.step):
        state = None
    processes.wait()  # every process has read before the first one removes
    if processes.first:
        job.clear_after(-1 if state is None else state.step)
    meter = Meter(str(base.device), state.cost if state else None)
    if state is None or state.step < max(keep.values()):
        state = _steps(job, processes, state, meter, fingerprint, sharded, on_step)
    return job.facts(state.rows, state.cost)


def _steps(
    job: Job,
    processes: Processes,
    state: State | None,
    meter: Meter,
    fingerprint: str,
    sharded: bool,
    on_step: OnStep | None,
) -> State:
    setup = job.setup()
    model = job.base.fresh(job.method, job.settings, job.seed)
    if sharded:
        shard(model, processes, job.base.device)
    loop = DistributedLoop(model, setup, processes)
    if state is not None:
        loop.load(state.weights, state.moments, state.step)
    rows, last = list(state.rows if state else ()), max(job.keep.values())
    begun = state.step if state else 0
    if state is None:
        _keep(job, loop, processes, rows, 0)
    lengths = [len(example.ids) for example in job.examples]
    for plan in plan_steps(lengths, job.settings, job.seed, last, start=begun):
        rows.append(loop.step(plan))
        kept, ended = _keep(job, loop, processes, rows, plan.step), plan.step == last
        if kept or ended or plan.step % job.settings.checkpoint_every == 0:
            weights, moments = ({}, {}) if ended else (loop.gathered_weights(), loop.gathered_moments())
            state = State(
                step=plan.step,
                micro_batch=job.settings.micro_batch,
                rows=tuple(rows),
                cost=meter.read(),
                weights=weights,
                moments=moments,
            )
            if processes.first:
                write_state(job.folder, state, fingerprint)
            processes.wait()
        if on_step:
            on_step(plan.step, rows[-1].loss)
    return state


def _keep(job: Job, loop: "DistributedLoop", processes: Processes, rows: Sequence[LogRow], step: int) -> bool:
    """Write the artifacts of a step from weights that all processes give their part of."""
    if step not in job.keep.values():
        return False
    weights = loop.gathered_weights()
    if processes.first:
        job.keep_artifacts(lambda folder: _save(loop.model, weights, folder), rows, step)
    processes.wait()
    return True


def _save(model: Any, weights: Mapping[str, Any], folder: Path) -> None:
    if hasattr(model, "peft_config"):
        save_model(model, folder)  # adapters are small and never sharded
        return
    buffers = {name: value for name, value in model.state_dict().items() if name in dict(model.named_buffers())}
    tied = {name: weights[other] for name, other in _tied(model).items()}
    save_full(model, folder, {**weights, **tied, **buffers})


def _tied(model: Any) -> dict[str, str]:
    """Return further names of parameters → the name under which they are trained."""
    names = {id(value): name for name, value in model.named_parameters()}
    every = model.named_parameters(remove_duplicate=False)
    return {name: names[id(value)] for name, value in every if names[id(value)] != name}


def shard(model: Any, processes: Processes, device: Any) -> None:
    """Split every decoder layer of ``model`` over the processes; adapters stay whole.

    Raises:
        ArtifactError: the decoder has no list of layers.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    layers = getattr(causal_model(model).get_decoder(), "layers", None)
    if layers is None:
        raise ArtifactError("has no list of decoder layers to split", where=type(model).__name__)
    mesh = init_device_mesh(device.type, (processes.n,))
    for layer in layers:
        adapters = {value for name, value in layer.named_parameters() if "lora_" in name}
        fully_shard(layer, mesh=mesh, reshard_after_forward=True, ignored_params=adapters)


class DistributedLoop(Loop):
    """The loop of one process among several: its share of every step, and the sums with the others.

    Args:
        model: whole, or with sharded layers.
        setup: of the run.
        processes: all of them.
    """

    def __init__(self, model: Any, setup: Setup, processes: Processes):
        super().__init__(model, setup)
        self.processes = processes
        with torch.no_grad():
            self.local = {name: _local(value) for name, value in self.trained.items()}
        options = {name: value for name, value in self.optimizer.defaults.items() if name in _ADAMW}
        self.optimizer = torch.optim.AdamW(list(self.local.values()), **options)

    def step(self, plan: StepPlan) -> LogRow:
        """Do one optimiser step together with all other processes; the log's row is the same in each."""
        batches = self.batches(plan)
        n_trained = count_trained(batches)
        set_seed(step_seed(self.setup.seed, plan.step) ^ self.processes.rank)
        loss = torch.zeros((), dtype=torch.float64)
        for batch, wanted in self._share(batches):
            loss += self._add_gradients(batch, wanted * self.processes.n / n_trained) / self.processes.n
        loss = loss.to(self.device) if self.device.type == "cuda" else loss
        distributed.all_reduce(loss)
        self._sum_gradients()
        return self.update(plan, batches, float(loss))

    def _share(self, batches: Sequence[FlatBatch]) -> list[tuple[FlatBatch, float]]:
        """Return (micro-batch, 1 or 0) of this process; all have equally many, because sharded layers meet in each."""
        own = [batch for batch in batches if batch.n_trained][self.processes.rank :: self.processes.n]
        most = -(-sum(bool(batch.n_trained) for batch in batches) // self.processes.n)
        idle = next(batch for batch in batches if batch.n_trained)
        return [(batch, 1.0) for batch in own] + [(idle, 0.0)] * (most - len(own))

    def _add_gradients(self, batch: FlatBatch, scale: float) -> float:
        with within_segments(self.model, self.setup.mode):
            loss = completion_loss(self.model, batch, scale, mode=self.setup.mode, dtype=self.setup.compute)
            loss.backward()
        return float(loss.detach())

    def _sum_gradients(self) -> None:
        """Bring what FSDP has not summed to the mean over processes, as FSDP does with the rest."""
        for name, parameter in self.trained.items():
            if not isinstance(parameter, DTensor):
                gradient = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
                distributed.all_reduce(gradient)
                parameter.grad = gradient / self.processes.n
            self.local[name].grad = _local(parameter.grad)
            parameter.grad = self.local[name].grad if parameter is self.local[name] else None

    def clip(self, most: float) -> float:
        """Clip by the norm over all parts of all gradients."""
        squares = [torch.zeros((), dtype=torch.float64, device=self.device) for _ in range(2)]
        for name, parameter in self.trained.items():
            squares[isinstance(parameter, DTensor)] += self.local[name].grad.double().square().sum()
        distributed.all_reduce(squares[1])
        norm = float((squares[0] + squares[1]).sqrt())
        if most and norm > most:
            for value in self.local.values():
                value.grad.mul_(most / (norm + 1e-6))
        return norm

    def gathered_weights(self) -> dict[str, torch.Tensor]:
        """Return the whole trained weights; every process must call this."""
        return {name: _whole(value.detach()) for name, value in self.trained.items()}

    def gathered_moments(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Return AdamW's whole moments; every process must call this."""
        result = {}
        for name, parameter in self.trained.items():
            state = self.optimizer.state[self.local[name]]
            result[name] = tuple(_like(state[kind], parameter) for kind in ("exp_avg", "exp_avg_sq"))
        return result

    def load(self, weights: Mapping[str, Any], moments: Mapping[str, tuple[Any, Any]], step: int) -> None:
        """Put weights and moments of a state back, each process its part."""
        with torch.no_grad():
            for name, parameter in self.trained.items():
                self.local[name].copy_(_part(weights[name], parameter))
        for name, (first, second) in moments.items():
            parameter = self.trained[name]
            self.optimizer.state[self.local[name]] = {
                "step": torch.tensor(float(step), device=self._step_device()),
                "exp_avg": _part(first, parameter).clone(),
                "exp_avg_sq": _part(second, parameter).clone(),
            }


_ADAMW = frozenset({"lr", "betas", "eps", "weight_decay", "fused"})


def _local(value: Any) -> torch.Tensor:
    """Return this process's part of a tensor, sharing its memory."""
    return value.to_local() if isinstance(value, DTensor) else value


def _whole(value: Any) -> torch.Tensor:
    return value.full_tensor() if isinstance(value, DTensor) else value


def _like(local: torch.Tensor, parameter: Any) -> torch.Tensor:
    """Return the whole of which ``local`` is this process's part, laid out as ``parameter`` is."""
    if not isinstance(parameter, DTensor):
        return local
    return DTensor.from_local(
        local, parameter.device_mesh, parameter.placements, shape=parameter.shape, stride=parameter.stride()
    ).full_tensor()


def _part(whole: torch.Tensor, parameter: Any) -> torch.Tensor:
    whole = whole.to(parameter.device)
    if not isinstance(parameter, DTensor):
        return whole
    return distribute_tensor(whole, parameter.device_mesh, parameter.placements).to_local()
