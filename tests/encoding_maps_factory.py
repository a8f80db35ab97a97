"""Maps of a known pattern on a surface and in a volume, as an analysis would hand them over."""

import numpy as np

from release_kit.encoding.data.masks import VOLUME, Mask, whole_surface
from release_kit.encoding.maps.derivative import StatMap

N = 10_242
AFFINE = np.array([[4.0, 0, 0, -90], [0, 4, 0, -126], [0, 0, 4, -72], [0, 0, 0, 1]])
ABOUT = {"Feature": "story-words", "Level": "story", "Model": "bag-of-words", "Layer": 0, "Mode": "corrected"}


def surface_mask() -> Mask:
    """All vertices of fsaverage5 but the first ten of the left hemisphere."""
    whole = whole_surface(N, N)
    selected = whole.selected.copy()
    selected[:10] = False
    return Mask(kind=whole.kind, shape=whole.shape, affine=None, selected=selected)


def volume_mask(shape: tuple[int, int, int] = (46, 55, 46)) -> Mask:
    """A ball in a volume of 4 mm voxels in MNI space."""
    grid = np.indices(shape).reshape(3, -1).T
    centre = np.array(shape) / 2
    selected = (np.linalg.norm((grid - centre) / centre, axis=1) < 0.8).reshape(shape)
    return Mask(kind=VOLUME, shape=shape, affine=AFFINE, selected=selected)


def pattern(mask: Mask, seed: int = 0) -> np.ndarray:
    """Values that grow with the position of a voxel in the mask, with a little noise and one NaN."""
    values = np.linspace(-0.1, 0.5, mask.n_voxels) + np.random.default_rng(seed).normal(0, 0.02, mask.n_voxels)
    values[5] = np.nan
    return values.astype(np.float32)


def maps_of(mask: Mask, space: str | None, subjects: tuple[str, ...] = ("01", "02")) -> list[StatMap]:
    """r, q, a difference and a unique part for each subject, and the mean."""
    found = []
    for k, subject in enumerate(subjects):
        r = pattern(mask, k)
        q = np.where(r > 0.2, 0.01, 0.5)
        tested = {**ABOUT, "Threshold": 0.05}
        common = {"subject": subject, "mask": mask, "space": space}
        found.append(StatMap(statistic="r", desc="story-words", values=r, about=tested, **common))
        found.append(StatMap(statistic="q", desc="story-words", values=q, about=tested, **common))
        both = {**ABOUT, "First": "story-words", "Second": "story-words"}
        found.append(StatMap(statistic="rdiff", desc="a against b", values=0.2 - r, about=both, **common))
        banded = {"BandedModel": "all", "Part": "unique:story", "Mode": "corrected"}
        found.append(StatMap(statistic="uniquer2", desc="all story", values=r**2, about=banded, **common))
        found.append(StatMap(statistic="uniquer2low", desc="all story", values=r**2 - 0.04, about=banded, **common))
    mean = {**ABOUT, "NumberOfSubjects": len(subjects)}
    values = np.mean([pattern(mask, k) for k in range(len(subjects))], axis=0)
    found.append(
        StatMap(subject=None, statistic="rmean", desc="story-words", values=values, mask=mask, space=space, about=mean)
    )
    return found
