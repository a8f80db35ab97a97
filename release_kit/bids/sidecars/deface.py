"""Takes the face out of an anatomical image and proves by numbers and a picture that the brain stayed.

Owns the whole way: registration to the ICBM152 brain (the niimath program, the template from nilearn), the region that
is the face, the check that the registration can be trusted, and the zeros. Reading and writing are ``recordings/``; the
picture is ``deface_picture.py``. The method is written up in ``docs/bids-privacy.md``.
"""

import functools
import json
import os
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from release_kit.bids.recordings.header import ImageFacts, RecordingError
from release_kit.bids.recordings.image import open_image
from release_kit.bids.recordings.nifti_write import write_nifti_gz
from release_kit.core.errors import MissingExtraError

if TYPE_CHECKING:
    import numpy as np

METHOD = "Face removed: niimath affine registration to ICBM152 2009a, voxels in front of and below the brain set to 0"
"""What sidecars say in ``DeidentificationMethod``."""
MARGIN_MM = 6
"""So far around the template's brain nothing is removed: people differ from the template."""
FACE_PLANE = (-20.0, 1.286, -60.0)
"""The face lies where y > ``FACE_PLANE[0]`` and z < slope · (y - 20) + offset, in mm of ICBM152: from the throat up to
the hairline (about z = 30 at the forehead)."""
MIN_AGREEMENT = 0.4
"""Correlation ratio between image and template inside the brain, below which a registration is not believed.

Measured on a real head: 0.64 where it is right, 0.50 when 5 mm off, 0.37 when 10 mm off, 0.2 for one upside down."""


@dataclass(frozen=True, kw_only=True)
class DefaceFacts:
    """What was removed, and how far the registration can be trusted."""

    n_voxels: int
    n_removed: int
    """Voxels that held something and now hold zero."""
    n_face: int
    """Voxels in the region of the face; all of them are zero now."""
    agreement: float
    """Correlation ratio, 0 to 1, between image and template inside the template's brain."""
    brain_kept: float
    """Share of the template's brain, moved onto the image, that lies outside of the region of the face."""
    template_to_image: tuple[tuple[float, ...], ...]
    """4 x 4, from mm of the template to mm of the image."""
    niimath: str
    sha256: str
    """Of the file that was written."""

    def to_dict(self) -> dict[str, Any]:
        """Return the facts for JSON."""
        return asdict(self)


def deface(source: Path, out: Path, picture: Path | None = None) -> DefaceFacts:
    """Write ``source`` without its face; every voxel outside of the face keeps its bytes.

    Args:
        source: a 3D NIfTI file of a whole head.
        out: the ``.nii.gz`` to write; the same input gives the same bytes.
        picture: a PNG for review, the head before and after from the side and from the front. It shows the face:
            it must not lie in the dataset.

    Raises:
        RecordingError: not one volume, or the image does not look like the template where the brain should be, so that
            nobody can tell where the face is; nothing is written then.
        MissingExtraError: niimath or nilearn is not installed.
    """
    import numpy as np

    niimath = _niimath()
    with open_image(source) as image:
        facts = image.header
        if facts.n_volumes != 1:
            step = "name a 3D anatomical image"
            raise RecordingError(f"holds {facts.n_volumes} volumes", where=str(source), next_step=step)
        stored = np.array(next(iter(image.volumes())))
    values = _values(stored, facts)
    template = _template()
    to_image = _register(niimath, values, facts, template, source)
    face = face_region(facts, template, to_image)
    agreement, kept = _judge(values, face, facts, template, to_image)
    if not agreement >= MIN_AGREEMENT:
        what = f"cannot be registered to the template (agreement {agreement:.2f}, needed {MIN_AGREEMENT})"
        step = (
            "look whether it is a whole head and its orientation is right; else set `deface: false` and deface by hand"
        )
        raise RecordingError(what, where=str(source), next_step=step)
    defaced = _blank(stored, face, facts)
    written = write_nifti_gz(out, facts, [defaced])
    if picture is not None:
        from release_kit.bids.sidecars.deface_picture import draw_review

        draw_review(picture, values, _values(defaced, facts), facts)
    return DefaceFacts(
        n_voxels=int(face.size),
        n_removed=int(np.count_nonzero(values[face])),
        n_face=int(np.count_nonzero(face)),
        agreement=round(agreement, 4),
        brain_kept=round(kept, 6),
        template_to_image=tuple(tuple(round(float(x), 9) for x in row) for row in to_image),
        niimath=_version(),
        sha256=written.sha256,
    )


@dataclass(frozen=True, kw_only=True)
class _Template:
    t1: "np.ndarray"
    """(x, y, z) float32, the brain alone."""
    brain: "np.ndarray"
    """(x, y, z) bool."""
    near_brain: "np.ndarray"
    """(x, y, z) bool, the brain and ``MARGIN_MM`` around it."""
    affine: "np.ndarray"


def face_region(facts: ImageFacts, template: Any, to_image: "np.ndarray") -> "np.ndarray":
    """Return (x, y, z) bool: which voxels of an image show the face.

    A voxel at template coordinates (y, z) is of the face where it lies in front of and below ``FACE_PLANE`` and farther
    than ``MARGIN_MM`` from the template's brain.
    """
    import numpy as np

    to_template = np.linalg.inv(to_image) @ np.array(facts.affine)
    face = np.zeros(facts.shape, dtype=bool)
    ys, zs = np.meshgrid(np.arange(facts.shape[1]), np.arange(facts.shape[2]), indexing="ij")
    front, slope, offset = FACE_PLANE
    for x in range(facts.shape[0]):
        points = np.stack([np.full(ys.size, x), ys.ravel(), zs.ravel(), np.ones(ys.size)])
        at = to_template @ points
        below = (at[1] > front) & (at[2] < slope * (at[1] - 20) + offset)
        below[below] = ~_sample(template.near_brain, template.affine, at[:, below], False)
        face[x] = below.reshape(ys.shape)
    return face


@functools.cache
def _template() -> _Template:
    try:
        from nilearn.datasets import load_mni152_brain_mask, load_mni152_template
        from scipy.ndimage import binary_dilation
    except ImportError as error:
        raise MissingExtraError("nilearn", "deface") from error
    import numpy as np

    t1, brain = load_mni152_template(resolution=1), load_mni152_brain_mask(resolution=1)
    mask = np.asarray(brain.dataobj) > 0
    # Dilation by a cross is by city blocks; alternating it with a cube comes close to a ball.
    cross, cube = None, np.ones((3, 3, 3), bool)
    near = mask
    for step in range(MARGIN_MM):
        near = binary_dilation(near, cross if step % 2 else cube)
    return _Template(t1=np.asarray(t1.dataobj, np.float32), brain=mask, near_brain=near, affine=np.array(t1.affine))


def _register(niimath: str, values: "np.ndarray", facts: ImageFacts, template: _Template, source: Path) -> "np.ndarray":
    """Return the affine from template mm to image mm that niimath finds."""
    import nibabel
    import numpy as np

    with tempfile.TemporaryDirectory(prefix="release-kit-") as name:
        folder = Path(name)
        for path, data, affine in (
            ("head.nii", values, np.array(facts.affine)),
            ("template.nii", template.t1, template.affine),
        ):
            image = nibabel.Nifti1Image(data.astype(np.float32), affine)
            image.set_sform(affine, 1)
            image.set_qform(affine, 1)
            nibabel.save(image, folder / path)
        command = [niimath, "head.nii", "-allineate", "template.nii", "-savemat", "matrix.json", "moved"]
        # One thread: sums in another order could give other digits.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "FSLOUTPUTTYPE": "NIFTI"}
        ran = subprocess.run(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True)
        matrix = folder / "matrix.json"
        if ran.returncode or not matrix.is_file():
            said = (ran.stderr.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
            raise RecordingError(f"niimath could not register it ({said})", where=str(source))
        return np.array(json.loads(matrix.read_text())["fixed_to_moving"], dtype=float)


def _judge(
    values: "np.ndarray", face: "np.ndarray", facts: ImageFacts, template: _Template, to_image: "np.ndarray"
) -> tuple[float, float]:
    """Return (agreement, share of the brain that is kept) at every second voxel of the template's brain.

    Agreement is the correlation ratio: the share of the image's variance that 32 classes of template intensity explain,
    square-rooted. It does not depend on which tissue is bright, so it holds for T1w, T2w and FLAIR alike.
    """
    import numpy as np

    index = np.argwhere(template.brain[::2, ::2, ::2]).T * 2
    known = template.t1[tuple(index)]
    points = to_image @ template.affine @ np.vstack([index, np.ones(index.shape[1])])
    seen = _sample(values, np.array(facts.affine), points, np.nan)
    kept = 1.0 - float(_sample(face, np.array(facts.affine), points, False).mean())
    here = np.isfinite(seen)
    if here.mean() < 0.5:
        return 0.0, kept
    seen, known = seen[here].astype(np.float64), known[here]
    classes = np.clip((known / known.max() * 32).astype(int), 0, 31)
    n = np.maximum(np.bincount(classes, minlength=32), 1)
    means = np.bincount(classes, weights=seen, minlength=32) / n
    total = float(np.var(seen))
    between = float(np.average((means - seen.mean()) ** 2, weights=n))
    return (between / total) ** 0.5 if total > 0 else 0.0, kept


def _sample(data: "np.ndarray", affine: "np.ndarray", points: "np.ndarray", outside: Any) -> "np.ndarray":
    """Return the nearest voxel's value at points (4, n) in mm; ``outside`` where there is none."""
    import numpy as np

    index = np.rint((np.linalg.inv(affine) @ points)[:3]).astype(np.int64)
    inside = np.all((index >= 0) & (index < np.array(data.shape)[:, None]), axis=0)
    result = np.full(points.shape[1], outside, dtype=np.result_type(data.dtype, type(outside)))
    result[inside] = data[tuple(index[:, inside])]
    return result


def _values(stored: "np.ndarray", facts: ImageFacts) -> "np.ndarray":
    """Return the image as float32 intensities; colours as their brightness."""
    import numpy as np

    if stored.dtype.names:
        stored = np.mean([stored[name] for name in stored.dtype.names], axis=0)
    values = np.abs(stored) if np.iscomplexobj(stored) else stored
    return np.nan_to_num(values.astype(np.float32) * facts.slope + facts.inter, posinf=0, neginf=0)


def _blank(stored: "np.ndarray", face: "np.ndarray", facts: ImageFacts) -> "np.ndarray":
    """Return the stored numbers with the face at the number that stands for the value 0."""
    import numpy as np

    defaced = stored.copy()
    zero = 0 if not facts.inter or not facts.slope or stored.dtype.names else -facts.inter / facts.slope
    if np.issubdtype(stored.dtype, np.integer):
        limits = np.iinfo(stored.dtype)
        zero = int(np.clip(round(zero), limits.min, limits.max))
    defaced[face] = np.zeros((), stored.dtype) if zero == 0 else zero
    return defaced


def _niimath() -> str:
    """Return the path of the program inside the niimath wheel; the wheel's Python is only a starter."""
    try:
        import niimath
    except ImportError as error:
        raise MissingExtraError("niimath", "deface") from error
    return str(niimath.bin)


def _version() -> str:
    import importlib.metadata

    return importlib.metadata.version("niimath")
