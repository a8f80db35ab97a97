"""How torch runs here: threads, seeds, determinism, and libraries that keep quiet on stderr.

The same seed gives the same bytes only with the same number of threads, so the thread count is set in one place.
"""

import contextlib
import ctypes
import os
import random

from release_kit.core.errors import MissingExtraError

M_MMAP_THRESHOLD = -3
"""The name of the option in malloc.h."""
GIVEN_BACK_BYTES = 2 * 2**20
COMPUTE_TYPES = ("auto", "float32", "bfloat16")


def prepare_runtime(*, threads: int = 1, seed: int = 0):
    """Return the torch module, set up so that a run with this seed and thread count can be repeated to the byte.

    Raises:
        MissingExtraError: torch or transformers is not installed.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
    try:
        import torch
        import transformers
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "torch", "sft") from error
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    # Deterministic mode writes NaN into all new memory; nothing here reads it, and it costs a tenth of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False
    _give_memory_back()
    set_seed(seed)
    return torch


def _give_memory_back() -> None:
    """Have blocks of two megabytes and more returned to the system when they are freed, where the C library is glibc.

    It keeps ever larger ones for itself otherwise; training then peaks a tenth above what its tensors take. Smaller
    blocks would save more and cost page faults that are felt in the time of a step.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, GIVEN_BACK_BYTES)


def set_seed(seed: int) -> None:
    """Seed every generator that training draws from."""
    import numpy
    import torch

    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)


def compute_type(wanted: str) -> str:
    """Return ``float32`` or ``bfloat16``; ``auto`` is bfloat16 where the processor multiplies it in hardware.

    Without such instructions bfloat16 is slower than float32 and only loses precision.
    """
    if wanted not in COMPUTE_TYPES:
        raise ValueError(f"compute is {wanted!r}; expected one of {COMPUTE_TYPES}")
    if wanted != "auto":
        return wanted
    import torch

    can = getattr(torch.cpu, "get_capabilities", dict)()
    return "bfloat16" if can.get("amx_bf16") or can.get("avx512_bf16") else "float32"
