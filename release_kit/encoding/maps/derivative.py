"""A BIDS derivative dataset of statistical maps: images, a sidecar for each, what the labels mean, who made it.

``dataset_description.json`` is written last: a folder that has it is complete. Maps of an earlier version that are not
asked for any more are removed; the same maps give the same bytes.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from release_kit import __version__
from release_kit.bids.annotations.tsv import tsv_bytes
from release_kit.bids.schema import BIDS_VERSION
from release_kit.core.canonical import document_bytes, read_json
from release_kit.core.files import write_atomic
from release_kit.core.wording import counted
from release_kit.encoding.data.masks import SURFACE, Mask
from release_kit.encoding.errors import AnalysisError
from release_kit.encoding.maps.images import HEMISPHERES, read_image, write_surface, write_volume
from release_kit.encoding.maps.names import STATISTICS, SUFFIX, label, stem

DESCRIPTION_FILE = "dataset_description.json"
IGNORE = b"# BIDS has no rule for maps of statistics yet\n*_statmap.*\n"
VOLUME_END, SURFACE_END = ".nii.gz", ".func.gii"


@dataclass(frozen=True, kw_only=True, eq=False)
class StatMap:
    """One value per voxel, with what it is.

    Attributes:
        subject: label; None for a map over subjects.
        statistic: one of ``names.STATISTICS``.
        desc: what it is of: a feature, a band, a comparison; made a label by ``names.label``.
        values: (n_voxels,) numbers; NaN where there is none.
        mask: where the voxels lie.
        space: label of the space; None: the subject's own.
        task: label, where all runs have the same.
        about: more facts for the sidecar: ``Level``, ``Model``, ``Layer``, ``Mode``, ``Source`` …
    """

    subject: str | None
    statistic: str
    desc: str
    values: npt.NDArray
    mask: Mask
    space: str | None = None
    task: str | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    def paths(self) -> dict[str, str]:
        """Return hemisphere (empty for a volume) → path of the image below the derivative."""
        names = (self.subject, self.statistic, self.desc)
        if self.mask.kind == SURFACE:
            return {
                hemi: stem(*names, task=self.task, space=self.space, hemi=hemi) + SURFACE_END for hemi in HEMISPHERES
            }
        return {"": stem(*names, task=self.task, space=self.space) + VOLUME_END}

    def sidecar_path(self) -> str:
        """Return the path of the sidecar, one for both hemispheres."""
        return stem(self.subject, self.statistic, self.desc, task=self.task, space=self.space) + ".json"


@dataclass(frozen=True, kw_only=True)
class WrittenMap:
    """A map on disk.

    Attributes:
        folder: the derivative.
        sidecar: its path below the folder.
        about: what the sidecar says.
    """

    folder: Path
    sidecar: str
    about: Mapping[str, Any]

    @property
    def files(self) -> dict[str, Path]:
        """Hemisphere (empty for a volume) → image."""
        return {key: self.folder / path for key, path in self.about["Files"].items()}

    def read(self) -> tuple[tuple[npt.NDArray, ...], Any]:
        """Return the arrays (one volume, or left and right hemisphere; NaN without a value) and a volume's affine."""
        return read_image(self.files)


def write_map(found: StatMap, folder: Path) -> WrittenMap:
    """Write the image of one map, then its sidecar.

    Raises:
        AnalysisError: an unknown statistic.
        ResponseError: values that do not fit the mask, or a volume without an affine.
    """
    if found.statistic not in STATISTICS:
        what = f"statistic {found.statistic!r} is none of {', '.join(sorted(STATISTICS))}"
        raise AnalysisError(what, where=found.sidecar_path())
    paths = found.paths()
    files = {key: folder / path for key, path in paths.items()}
    if found.mask.kind == SURFACE:
        write_surface(found.values, found.mask, files, found.statistic)
    else:
        write_volume(found.values, found.mask, files[""])
    about = sidecar(found, paths)
    write_atomic(folder / found.sidecar_path(), document_bytes(about))
    return WrittenMap(folder=folder, sidecar=found.sidecar_path(), about=about)


def sidecar(found: StatMap, paths: Mapping[str, str]) -> dict[str, Any]:
    """Return what a sidecar says of a map: meaning, unit, counts, range, and what the caller knows."""
    meaning, unit = STATISTICS[found.statistic]
    known = np.asarray(found.values)[np.isfinite(found.values)]
    ends = {"Minimum": float(known.min()), "Maximum": float(known.max())} if len(known) else {}
    return {
        "Description": meaning[0].upper() + meaning[1:] + ".",
        "Statistic": found.statistic,
        "Units": unit,
        "Subject": found.subject,
        "Desc": found.desc,
        "Space": found.space,
        "Kind": found.mask.kind,
        "NumberOfVoxels": found.mask.n_voxels,
        "NumberWithValue": len(known),
        "MissingValue": "NaN: outside the mask, or a voxel that cannot be scored",
        **ends,
        **dict(found.about),
        "Files": dict(paths),
    }


def write_derivative(
    folder: Path, maps: Iterable[StatMap], *, name: str, sources: Sequence[Mapping[str, Any]] = (),
    description: str = "", license_: str = "CC0-1.0",
) -> list[WrittenMap]:  # fmt: skip
    """Write maps as a BIDS derivative dataset; what it held of other maps is removed.

    Args:
        folder: ``derivative/`` of an analysis.
        maps: one at a time is held in memory.
        name: of the dataset.
        sources: ``SourceDatasets`` of its description: URL, DOI or Version of the datasets that were analysed.
        description: a sentence for its README.
        license_: of the maps.

    Raises:
        AnalysisError: two maps have the same name.
    """
    (folder / DESCRIPTION_FILE).unlink(missing_ok=True)
    written: list[WrittenMap] = []
    for each in maps:
        if any(each.sidecar_path() == other.sidecar for other in written):
            step = "name features and bands so that they differ in letters and digits"
            raise AnalysisError("two maps would have this name", where=each.sidecar_path(), next_step=step)
        written.append(write_map(each, folder))
    _remove_others(folder, written)
    write_atomic(folder / ".bidsignore", IGNORE)
    write_atomic(folder / "descriptions.tsv", _descriptions(written))
    write_atomic(folder / "README.md", _readme(name, description, written).encode("utf-8"))
    made = {"Name": "release_kit", "Version": __version__}
    about = {
        "Name": name,
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "License": license_,
        "GeneratedBy": [{**made, "Description": "release-kit encoding"}],
        **({"SourceDatasets": [dict(each) for each in sources]} if sources else {}),
    }
    write_atomic(folder / DESCRIPTION_FILE, document_bytes(about))
    return written


def read_derivative(folder: Path) -> list[WrittenMap]:
    """Return the maps of a derivative dataset by their sidecars, sorted by path; none where it is not complete."""
    if not (folder / DESCRIPTION_FILE).is_file():
        return []
    found = sorted(folder.rglob(f"*_{SUFFIX}.json"))
    return [
        WrittenMap(folder=folder, sidecar=path.relative_to(folder).as_posix(), about=read_json(path)) for path in found
    ]


def _remove_others(folder: Path, written: Sequence[WrittenMap]) -> None:
    keep = {each.folder / each.sidecar for each in written} | {path for each in written for path in each.files.values()}
    for path in sorted(folder.rglob(f"*_{SUFFIX}.*")):
        if path not in keep:
            path.unlink()


def _descriptions(written: Sequence[WrittenMap]) -> bytes:
    said = {label(each.about["Desc"]): _told(each.about) for each in written}
    return tsv_bytes(("desc_id", "description"), [(f"desc-{key}", said[key]) for key in sorted(said)])


def _told(about: Mapping[str, Any]) -> str:
    facts = [f"{key.lower()} {about[key]}" for key in ("Level", "Model", "Layer", "Mode") if about.get(key) is not None]
    return about["Desc"] + (f": {', '.join(facts)}" if facts else "")


def _readme(name: str, description: str, written: Sequence[WrittenMap]) -> str:
    counts = Counter(each.about["Statistic"] for each in written)
    lines = [f"# {name}", "", description or "Statistical maps of encoding models."]
    lines += ["", "Values are float32; NaN stands where a voxel is outside the mask or cannot be scored.", ""]
    lines += [f"- `stat-{key}`: {STATISTICS[key][0]} ({counted(counts[key], 'map')})" for key in sorted(counts)]
    return "\n".join(lines) + "\n"
