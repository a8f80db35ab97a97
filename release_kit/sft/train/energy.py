"""What a run cost: seconds, processor seconds, joules where the machine counts them, peak memory.

Counters are the processor's own (RAPL) and the GPU's (NVML). Where neither can be read, joules are None: nothing is
estimated. A counter covers the whole processor or GPU, also what others do on it meanwhile.
"""

import contextlib
import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RAPL_FOLDER = Path("/sys/class/powercap")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Wall time, processor time, energy and peak memory of a piece of work."""

    seconds: float
    cpu_seconds: float
    joules: float | None
    energy_source: str | None
    """``rapl``, ``nvml``, ``rapl+nvml``; None where nothing could be read."""
    peak_memory_bytes: int
    """Largest resident size of this process so far; on a GPU the largest allocation there."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)


class Meter:
    """Counts from its construction on.

    Args:
        device: ``cpu`` or ``cuda…``.
        before: cost of earlier parts of the same work, added to what is read.
        rapl: where the processor's counters lie.
    """

    def __init__(self, device: str = "cpu", before: Cost | None = None, rapl: Path = RAPL_FOLDER):
        self._device, self._before = device, before
        self._counters = _rapl_counters(rapl) + (_nvml_counters(device) if device.startswith("cuda") else [])
        self._start = [read() for _, read in self._counters]
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> Cost:
        """Return the cost so far."""
        before = self._before
        used = [_used(first, read()) for first, (_, read) in zip(self._start, self._counters, strict=True)]
        joules = sum(used) if used and None not in used else None
        if before is not None and joules is not None:
            joules = None if before.joules is None else joules + before.joules
        sources = "+".join(sorted({name for name, _ in self._counters}))
        return Cost(
            seconds=time.perf_counter() - self._wall + (before.seconds if before else 0.0),
            cpu_seconds=time.process_time() - self._cpu + (before.cpu_seconds if before else 0.0),
            joules=joules,
            energy_source=sources if joules is not None else None,
            peak_memory_bytes=max(_peak_memory(self._device), before.peak_memory_bytes if before else 0),
        )


def _used(first: tuple[float, float] | None, last: tuple[float, float] | None) -> float | None:
    """Return the joules between two readings (joules, range at which the counter starts again)."""
    if first is None or last is None:
        return None
    return last[0] - first[0] + (last[1] if last[0] < first[0] else 0.0)


def _rapl_counters(folder: Path) -> list[tuple[str, Callable[[], tuple[float, float] | None]]]:
    packages = sorted(folder.glob("intel-rapl:[0-9]")) if folder.is_dir() else []

    def reader(package: Path) -> Callable[[], tuple[float, float] | None]:
        def read() -> tuple[float, float] | None:
            try:
                now = int((package / "energy_uj").read_text())
                return now / 1e6, int((package / "max_energy_range_uj").read_text()) / 1e6
            except (OSError, ValueError):  # root alone may read it on many systems
                return None

        return read

    return [("rapl", read) for read in map(reader, packages) if read() is not None]


def _nvml_counters(device: str) -> list[tuple[str, Callable[[], tuple[float, float] | None]]]:
    try:
        import pynvml

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(int(device.partition(":")[2] or 0))
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except Exception:  # no library, no driver, a card without a counter: each has its own class, none matters here
        return []

    def read() -> tuple[float, float] | None:
        return pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3, 0.0

    return [("nvml", read)]


def _peak_memory(device: str) -> int:
    if device.startswith("cuda"):
        import torch

        with contextlib.suppress(RuntimeError):
            return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
