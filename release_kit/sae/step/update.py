"""The update of all parameters by a gradient whose rows are made, used and forgotten some at a time.

Owns projection, norm and clipping of the whole gradient without an array of its size: one pass over the rows for the
norm, a second one for Adam. Making rows twice costs about what reading and writing all of them several times would.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from release_kit.sae.dictionary import Sae
from release_kit.sae.step.adam import adam_update, clip, gradient_norm, row_norms
from release_kit.sae.step.gradients import MATRICES, Gradients, project_decoder
from release_kit.sae.step.settings import StepSettings
from release_kit.sae.step.state import TrainState

if TYPE_CHECKING:
    import torch

_ROWS = 1024
_ROWS_GPU = 1 << 20
"""Rows of a gradient that exist at one time; starting many small kernels costs a GPU more than memory does."""


def projected_norm(state: TrainState, gradients: Gradients) -> float:
    """Return the norm of the gradient of all parameters, after projection where decoder rows keep length 1.

    Args:
        state: parameters.
        gradients: of the loss.
    """
    norms = {}
    for name, value in state.parameters().items():
        if name in MATRICES:
            norms[name] = value.new_empty(len(value))
            for start, stop, rows in _rows(state.sae, gradients, name):
                norms[name][start:stop] = row_norms(rows)
        else:
            norms[name] = row_norms(gradients.vectors[name])
    return gradient_norm(norms)


def update(state: TrainState, gradients: Gradients, norm: float, settings: StepSettings) -> None:
    """Clip and take one step of Adam; parameters and moments change in place.

    Args:
        state: its counts are those before the step.
        gradients: of the loss; ``vectors`` are clipped in place.
        norm: of ``projected_norm``.
        settings: rates and limit.
    """
    parameters = state.parameters()
    for name in MATRICES:
        value, (first, second) = parameters[name], state.moments[name]
        for start, stop, rows in _rows(state.sae, gradients, name):
            clip({name: rows}, norm, settings.clip_norm)
            mine = slice(start, stop)
            moments = {name: (first[mine], second[mine])}
            adam_update({name: value[mine]}, {name: rows}, moments, state.n_steps, settings)
    clip(gradients.vectors, norm, settings.clip_norm)
    vectors = {name: parameters[name] for name in gradients.vectors}
    adam_update(vectors, gradients.vectors, state.moments, state.n_steps, settings)


def _rows(sae: Sae, gradients: Gradients, name: str) -> "Iterator[tuple[int, int, torch.Tensor]]":
    """Yield first row, row after the last, and these rows of the projected gradient, in one buffer used again."""
    matrix = getattr(sae, name)
    n = min(len(matrix), _ROWS if matrix.device.type == "cpu" else _ROWS_GPU)
    buffer = matrix.new_empty(n, matrix.shape[1])
    for start in range(0, len(matrix), n):
        stop = min(len(matrix), start + n)
        rows = buffer[: stop - start]
        gradients.put_rows(name, start, stop, rows)
        if name == "w_dec" and sae.config.unit_norm_decoder:
            project_decoder(rows, matrix[start:stop])
        yield start, stop, rows
