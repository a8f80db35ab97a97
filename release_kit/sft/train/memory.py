"""Running out of memory: how it shows itself, and giving memory back before the next attempt."""

import gc
from typing import Any

_PHRASES = ("out of memory", "bad_alloc", "can't allocate memory", "cannot allocate memory", "not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether ``error`` says that memory ran out: Python's, the allocator's of the processor, or the GPU's."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(phrase in str(error).lower() for phrase in _PHRASES)


def release(base: Any) -> None:
    """Give back what a failed attempt held: gradients, adapters, the GPU's cached blocks."""
    base.restore()
    gc.collect()
    if base.device.type == "cuda":
        import torch

        torch.cuda.empty_cache()
