"""Which interventions are made: variant x class x strength, and their matched random controls.

The published formula of "integrating decomposed representations" is not known. These are declared variants; every
table says which one it is.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from release_kit.sae.errors import SaeError
from release_kit.sae.intervene.contributions import random_sets

if TYPE_CHECKING:
    import torch

Variant = Literal["add", "replace", "ablate"]
Control = Literal["", "count", "norm"]
ALL = "all"
CONTROLS: tuple[Control, ...] = ("count", "norm")
"""Random features: as many; as many, and scaled to the length of the class's contribution at each token."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Intervention:
    """One thing that is done to one layer.

    Attributes:
        variant: ``add``: h + a c(final); ``replace``: h + a (c(final) - c(own)); ``ablate``: h - a c(own).
        name: the class of features.
        strength: a.
        control: empty for the class itself, else how random features are matched to it.
        draw: number of the draw, 0 for the class itself.
        final, own: (n_features,) bool: which features of the donor's and of the model's own autoencoder.
        like_final, like_own: the class's own sets, whose lengths ``norm`` takes.
    """

    variant: Variant
    name: str
    strength: float
    control: Control
    draw: int
    final: "torch.Tensor"
    own: "torch.Tensor"
    like_final: "torch.Tensor"
    like_own: "torch.Tensor"

    @property
    def key(self) -> tuple[str, str, float, str, int]:
        """What tables name it by."""
        return self.variant, self.name, self.strength, self.control, self.draw


@dataclass(frozen=True, kw_only=True, eq=False)
class Classes:
    """Classes of the features of one autoencoder: name → (n_features,) bool; and which features are alive."""

    sets: "Mapping[str, torch.Tensor]"
    alive: "torch.Tensor"

    def of(self, name: str) -> "torch.Tensor":
        """Return a class; ``all`` is every living feature.

        Raises:
            SaeError: there is no such class.
        """
        if name == ALL:
            return self.alive
        if name not in self.sets:
            raise SaeError(f"no class {name!r}; there are {', '.join([*self.sets, ALL])}", where="classes")
        return self.sets[name] & self.alive


def plan_interventions(
    final: Classes,
    own: Classes,
    *,
    variants: tuple[Variant, ...],
    names: tuple[str, ...],
    strengths: tuple[float, ...],
    n_random: int,
    seed: int,
) -> Iterator[Intervention]:
    """Yield every intervention with its controls; ``all`` has none: there is nothing to draw from.

    Random sets of the donor and of the model's own autoencoder are drawn once for each class, so that all variants and
    strengths meet the same sets.

    Raises:
        SaeError: a class that does not exist.
    """
    for place, name in enumerate(names):
        sets = final.of(name), own.of(name)
        draws = (
            []
            if name == ALL
            else list(
                zip(
                    random_sets(sets[0], final.alive, n_random, seed=1000 * seed + 2 * place),
                    random_sets(sets[1], own.alive, n_random, seed=1000 * seed + 2 * place + 1),
                    strict=True,
                )
            )
        )
        for variant in variants:
            for strength in strengths:
                common = {"variant": variant, "name": name, "strength": strength}
                like = {"like_final": sets[0], "like_own": sets[1]}
                yield Intervention(**common, control="", draw=0, final=sets[0], own=sets[1], **like)
                for control in CONTROLS:
                    for draw, (random_final, random_own) in enumerate(draws):
                        yield Intervention(
                            **common, control=control, draw=draw, final=random_final, own=random_own, **like
                        )
