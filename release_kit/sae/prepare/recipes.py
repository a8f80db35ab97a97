"""How small bilingual language models are made: sizes, steps that are kept, and everything else that decides weights.

Owns the recipe as a record. Training is ``language_models.py``'s.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

from release_kit.core.records import Fields
from release_kit.sae.errors import SaeError


@dataclass(frozen=True, kw_only=True)
class LmSize:
    """One size of model: a Llama with tied embeddings."""

    name: str
    hidden_size: int
    n_layers: int
    n_heads: int

    def __post_init__(self) -> None:
        if self.hidden_size % (2 * self.n_heads):
            what = f"a width of {self.hidden_size} is not a multiple of twice {self.n_heads} heads"
            raise SaeError(what, where=f"size {self.name}")

    @property
    def intermediate_size(self) -> int:
        """Width inside the MLP: 8/3 of the model's, up to the next multiple of 32."""
        return math.ceil(self.hidden_size * 8 / 3 / 32) * 32


@dataclass(frozen=True, kw_only=True)
class LmRecipe:
    """What a series of checkpoints in several sizes is made from; sizes see the same text in the same order."""

    sizes: tuple[LmSize, ...]
    keep: tuple[int, ...]
    """Steps whose weights become checkpoints, ascending; step 0 is the random start, the last one ends training."""
    vocab_size: int = 4000
    context: int = 64
    """Tokens of a training row."""
    batch_rows: int = 32
    """Rows of one step."""
    learning_rate: float = 3e-3
    """Highest one, after a twentieth of the steps; it then falls along a cosine to a tenth."""
    seed: int = 0

    def __post_init__(self) -> None:
        names = [size.name for size in self.sizes]
        if not names or len(set(names)) < len(names):
            raise SaeError("needs sizes, each with a name of its own", where="recipe of language models")
        if list(self.keep) != sorted(set(self.keep)) or len(self.keep) < 2 or self.keep[0] < 0:
            raise SaeError(f"the steps {list(self.keep)} are not ascending", where="recipe of language models")

    @property
    def steps(self) -> int:
        """Steps of training in all."""
        return self.keep[-1]

    def size(self, name: str) -> LmSize:
        """Return the size called ``name``.

        Raises:
            SaeError: there is none.
        """
        for size in self.sizes:
            if size.name == name:
                return size
        raise SaeError(f"there is no size {name!r}; there are {[each.name for each in self.sizes]}", where="recipe")

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; ``from_fields`` of it gives the recipe back."""
        return {**asdict(self), "sizes": [asdict(size) for size in self.sizes], "keep": list(self.keep)}

    @classmethod
    def from_fields(cls, fields: Fields) -> "LmRecipe":
        """Read a recipe.

        Raises:
            RecordError: a key is missing, unknown or of another type.
            SaeError: the values contradict each other.
        """
        sizes = []
        for inner in fields.children("sizes"):
            whole = {name: inner.take(name, int) for name in ("hidden_size", "n_layers", "n_heads")}
            sizes.append(LmSize(name=inner.take("name", str), **whole))
            inner.done()
        values: dict[str, Any] = {
            name: fields.take(name, int, cls.__dataclass_fields__[name].default)
            for name in ("vocab_size", "context", "batch_rows", "seed")
        }
        values["learning_rate"] = float(fields.take("learning_rate", (int, float), cls.learning_rate))
        keep = tuple(fields.take_list("keep", int))
        fields.done()
        return cls(sizes=tuple(sizes), keep=keep, **values)


def log_spaced(last: int, n: int) -> tuple[int, ...]:
    """Return about ``n`` steps: 0, then powers of two (or of their root) that end at ``last``, ascending.

    ``log_spaced(512, 8) == (0, 8, 16, 32, 64, 128, 256, 512)``.
    """
    return tuple(sorted({0, *(max(1, round(last / 2**power)) for power in range(max(1, n - 1)))}))


DEMO_RECIPE = LmRecipe(
    sizes=(
        LmSize(name="small", hidden_size=128, n_layers=4, n_heads=4),
        LmSize(name="large", hidden_size=192, n_layers=4, n_heads=6),
    ),
    keep=log_spaced(512, 8),
)
"""Two sizes that two quiet cores train side by side in about five minutes on 80,000 pairs."""

TINY_RECIPE = LmRecipe(
    sizes=(
        LmSize(name="small", hidden_size=32, n_layers=2, n_heads=2),
        LmSize(name="large", hidden_size=48, n_layers=3, n_heads=2),
    ),
    keep=(0, 4, 16, 64), vocab_size=600, context=32, batch_rows=16, learning_rate=1e-2,
)  # fmt: skip
"""For tests: seconds."""
