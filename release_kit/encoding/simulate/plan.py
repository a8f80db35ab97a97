"""What is planted: titles and runs, correlated bands of features, regions of voxels and what bands explain there."""

from collections.abc import Mapping
from dataclasses import dataclass

from release_kit.encoding.errors import AnalysisError

NOISES = ("white", "ar1", "real")
LAGS = ("voxel", "run")


@dataclass(frozen=True, kw_only=True)
class PlantedRegion:
    """Voxels in which each band drives the response with a given share of its variance.

    Attributes:
        name: of the region.
        n_voxels: how many.
        shares: band → variance of the signal made of its features, as a share of the response's variance; what a band
            explains in the end is more where bands are correlated (see ``truth.py``). Empty: no signal at all.
    """

    name: str
    n_voxels: int
    shares: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class SimulationSpec:
    """A study to simulate.

    Attributes:
        titles: title → number of its runs; the last run of each title is held out.
        n_volumes: volumes of a run.
        tr_s: seconds from volume to volume.
        bands: band → number of its features.
        regions: what is planted where.
        correlation: share of a feature's variance that comes from latents which all bands have in common; 0 makes bands
            independent.
        n_common: how many such latents.
        smooth_s: time after which the autocorrelation of features has fallen to 1/e; the same in all bands.
        delay_s: how much later than the features the response comes.
        noise: ``white``, ``ar1``, or ``real``: columns of recordings that are given.
        noise_carry: coefficient of AR(1) noise.
        noise_lag: of real noise: turned by a lag a ``voxel``, or by one lag a ``run``, see ``noise.py``.
        n_subjects: who see the same titles.
        likeness: share of the weights' variance that subjects have in common.
        n_constant: voxels that never change, after all others.
        seed: of everything.
    """

    titles: Mapping[str, int]
    n_volumes: int
    bands: Mapping[str, int]
    regions: tuple[PlantedRegion, ...]
    tr_s: float = 1.0
    correlation: float = 0.0
    n_common: int = 5
    smooth_s: float = 2.0
    delay_s: float = 6.0
    noise: str = "ar1"
    noise_carry: float = 0.5
    noise_lag: str = "voxel"
    n_subjects: int = 1
    likeness: float = 1.0
    n_constant: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        problems = [
            *(f"{name} is {value}, expected at least {least}" for name, value, least in self._least() if value < least),
            *(
                f"{name} is {value}, expected 0 to {most}"
                for name, value, most in self._shares()
                if not 0 <= value <= most
            ),
        ]
        for region in self.regions:
            if unknown := sorted(set(region.shares) - set(self.bands)):
                problems.append(f"region {region.name} names unknown bands {', '.join(unknown)}")
            if sum(region.shares.values()) >= 1 or any(share < 0 for share in region.shares.values()):
                problems.append(f"the shares of region {region.name} leave no room for noise")
        if self.noise not in NOISES:
            problems.append(f"noise is {self.noise!r}, expected one of {', '.join(NOISES)}")
        if self.noise_lag not in LAGS:
            problems.append(f"noise_lag is {self.noise_lag!r}, expected one of {', '.join(LAGS)}")
        if self.delay_s % self.tr_s:
            problems.append(f"the delay of {self.delay_s} s is no whole number of volumes of {self.tr_s} s")
        if problems:
            raise AnalysisError("; ".join(problems), where="simulation")

    @property
    def n_voxels(self) -> int:
        """All voxels, the constant ones too."""
        return sum(region.n_voxels for region in self.regions) + self.n_constant

    @property
    def delay(self) -> int:
        """The delay in volumes."""
        return round(self.delay_s / self.tr_s)

    def _least(self) -> list[tuple[str, float, float]]:
        runs = [(f"titles.{title}", n, 2) for title, n in self.titles.items()]
        bands = [(f"bands.{band}", n, 1) for band, n in self.bands.items()]
        ones = [(name, getattr(self, name), 1) for name in ("n_common", "n_subjects")]
        volumes = ("n_volumes", self.n_volumes, self.delay + 2)
        return [*runs, *bands, *ones, volumes, ("n_constant", self.n_constant, 0), ("number of titles", len(runs), 1)]

    def _shares(self) -> list[tuple[str, float, float]]:
        return [
            ("correlation", self.correlation, 0.99),
            ("likeness", self.likeness, 1),
            ("noise_carry", self.noise_carry, 0.99),
        ]
