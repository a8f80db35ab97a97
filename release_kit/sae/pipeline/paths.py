"""Names and places: one autoencoder of a study, and the folders of everything that belongs to it.

Pure arithmetic over names; nothing is read.
"""

from dataclasses import dataclass
from pathlib import Path

MODELS, ACTIVATIONS, RUNS = "models", "activations", "runs"
SAES, MEASURES, INTERVENTIONS = "saes", "measures", "interventions"
TABLES, REPORT, PUBLISHED = "tables", "report", "published"
SAE_FILE, MEASURE_FILE, INTERVENTION_FILE = "sae.json", "measure.json", "intervention.json"
"""Written last: a folder without it is not finished."""
TRAINING_FILE = "training.json"


@dataclass(frozen=True, kw_only=True, order=True)
class SaeKey:
    """Which autoencoder of a study. Sorts by size, step, layer, seed."""

    size: str
    step: int
    layer: int
    seed: int

    @property
    def parts(self) -> tuple[str, str, str, str]:
        """The names of its folders, outermost first: ``("small", "step-16", "layer-2", "seed-0")``."""
        return self.size, f"step-{self.step}", f"layer-{self.layer}", f"seed-{self.seed}"

    @property
    def name(self) -> str:
        """One name: ``small/step-16/layer-2/seed-0``."""
        return "/".join(self.parts)

    @property
    def title(self) -> str:
        """For people: ``small, step 16, layer 2, seed 0``."""
        return f"{self.size}, step {self.step}, layer {self.layer}, seed {self.seed}"

    @classmethod
    def from_name(cls, name: str) -> "SaeKey":
        """Return the key with this ``name``.

        Raises:
            ValueError: it is the name of none.
        """
        size, *numbers = name.split("/")
        heads = ("step", "layer", "seed")
        if len(numbers) != len(heads) or any(
            part.partition("-")[0] != head for part, head in zip(numbers, heads, strict=True)
        ):
            raise ValueError(name)
        step, layer, seed = (int(part.partition("-")[2]) for part in numbers)
        return cls(size=size, step=step, layer=layer, seed=seed)


def sae_folder(study_folder: Path, key: SaeKey) -> Path:
    """Return where a finished autoencoder lies."""
    return study_folder.joinpath(SAES, *key.parts)


def measure_folder(study_folder: Path, key: SaeKey) -> Path:
    """Return where what was measured of an autoencoder lies."""
    return study_folder.joinpath(MEASURES, *key.parts)


def intervention_folder(study_folder: Path, key: SaeKey) -> Path:
    """Return where the losses of interventions on a step with this layer and seed lie."""
    return study_folder.joinpath(INTERVENTIONS, *key.parts)


def run_folder(study_folder: Path, key: SaeKey) -> Path:
    """Return where the state of an autoencoder in training lies."""
    return study_folder.joinpath(RUNS, *key.parts)


def model_folder(study_folder: Path, size: str, step: int) -> Path:
    """Return where a checkpoint of a model that is trained here lies."""
    return study_folder / MODELS / size / f"step-{step}"


def activations_folder(study_folder: Path, size: str, step: int) -> Path:
    """Return where sets of activations of one model at one step lie while they are needed."""
    return study_folder / ACTIVATIONS / size / f"step-{step}"
