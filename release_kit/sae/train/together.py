"""Several autoencoders from one stream of activations, all at the same step: nothing is stored on disk.

States are written one after the other, so a stop may leave some a checkpoint ahead. The stream then begins where the
last one is, and those that are ahead wait for it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from release_kit.sae.activations.order import Rows
from release_kit.sae.errors import SaeError
from release_kit.sae.train.one import Training


@dataclass(frozen=True, kw_only=True, eq=False)
class Member:
    """One autoencoder of several, and the layer that it is of."""

    layer: int
    training: Training


def train_together(
    members: Sequence[Member],
    joint: Callable[[int], Iterator[Rows]],
    report: Callable[[int, int], None] = lambda step, n_steps: None,
) -> None:
    """Train all to their ends; interrupted anywhere, the same call goes on to the same bytes.

    Args:
        members: with the same number of steps.
        joint: from the number of the first batch on: layer → activations, for the layers of all members.
        report: told after every batch how many are done, and of how many.

    Raises:
        SaeError: the stream ended, or members have different numbers of steps.
        ActivationError: activations that are no numbers; the last states stay.
    """
    lengths = {member.training.schedule.n_steps for member in members}
    if len(lengths) != 1:
        raise SaeError(f"they take {sorted(lengths)} steps; expected the same number", where="training together")
    n_steps = lengths.pop()
    number = min(member.training.n_steps for member in members)
    if number >= n_steps:
        return
    for rows, _ in joint(number):
        for member in members:
            if member.training.n_steps == number:
                member.training.take(rows[member.layer])
        number += 1
        report(number, n_steps)
        if number == n_steps:
            return
    raise SaeError("there are no more activations", where="training together")
