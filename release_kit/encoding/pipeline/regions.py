"""Which voxels a number is the mean of: all, the best predicted on training data, and named regions of a file."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from release_kit.encoding.data.masks import SURFACE, Mask
from release_kit.encoding.errors import AnalysisError

ALL, TOP = "all", "top"
TOP_SHARE, TOP_MOST = 0.1, 5000
"""5,000 of a volume's 88,000 voxels is what the seed's paper took; of fewer than 50,000 voxels a tenth."""

Regions = Mapping[str, npt.NDArray[np.bool_]]


def top_voxels(*cv: npt.NDArray) -> npt.NDArray[np.bool_]:
    """Return (n_voxels,) True for the 10 % of voxels (at most 5,000) with the largest score of cross-validation.

    Args:
        cv: (n_voxels,) of each model that is compared; a voxel counts with the best of them. Held-out scores must not
            decide: the mean over voxels that were picked on them would be too large.
    """
    best = np.max([np.nan_to_num(each, nan=-np.inf) for each in cv], axis=0)
    n = min(TOP_MOST, max(1, round(TOP_SHARE * len(best))), int(np.isfinite(best).sum()))
    chosen = np.zeros(len(best), bool)
    chosen[np.argsort(-best, kind="stable")[:n]] = True
    return chosen


def read_regions(path: Path | None, mask: Mask, subject: str) -> dict[str, npt.NDArray[np.bool_]]:
    """Return name → (n_voxels,) which voxels of the mask belong to each region of a file.

    A TSV has the columns ``voxel`` (place in the mask, from 0) and ``region``. A label map is a NIfTI of the mask's
    shape or, with ``{hemi}`` (L, R) in its path, two GIFTI files; ``{subject}`` may stand in the path.

    Raises:
        AnalysisError: it cannot be read, names voxels that there are not, or has another shape.
    """
    if path is None:
        return {}
    named = Path(str(path).replace("{subject}", subject))
    try:
        if named.suffix == ".tsv":
            return _of_table(named, mask.n_voxels)
        labels, names = _of_surface(named) if mask.kind == SURFACE else _of_volume(named)
    except (OSError, ValueError, KeyError) as error:
        raise AnalysisError(f"no regions can be read ({error})", where=str(named)) from error
    if labels.shape != mask.selected.shape:
        what = f"labels of {labels.shape}, the responses are {mask.selected.shape}"
        raise AnalysisError(what, where=str(named), next_step="name the regions of the same space")
    inside = mask.take(labels)
    return {names.get(int(k), f"label-{int(k)}"): inside == k for k in np.unique(inside) if k}


def _of_table(path: Path, n_voxels: int) -> dict[str, npt.NDArray[np.bool_]]:
    from release_kit.bids.annotations.tsv import parse_tsv

    header, rows = parse_tsv(path.read_bytes(), str(path))
    if not {"voxel", "region"} <= set(header):
        raise AnalysisError("its columns lack voxel or region", where=str(path))
    found: dict[str, npt.NDArray[np.bool_]] = {}
    for line, row in enumerate(rows, start=2):
        cells = dict(zip(header, row, strict=True))
        voxel, region = cells["voxel"] or "", cells["region"] or ""
        if not (voxel.isdigit() and int(voxel) < n_voxels and region):
            what = f"voxel {voxel!r} of region {region!r}: there are voxels 0 to {n_voxels - 1}"
            raise AnalysisError(what, where=f"{path}:{line}")
        found.setdefault(region, np.zeros(n_voxels, bool))[int(voxel)] = True
    return found


def _of_volume(path: Path) -> tuple[npt.NDArray, dict[int, str]]:
    import nibabel

    return np.rint(np.asarray(nibabel.load(path).dataobj)).astype(np.int64), {}


def _of_surface(path: Path) -> tuple[npt.NDArray, dict[int, str]]:
    import nibabel

    parts, names = [], {}
    for hemi in ("L", "R"):
        image = nibabel.load(str(path).replace("{hemi}", hemi))
        parts.append(np.rint(np.asarray(image.darrays[0].data)).astype(np.int64))
        names |= {label.key: label.label for label in image.labeltable.labels if label.label}
    return np.concatenate(parts), names
