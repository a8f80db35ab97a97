"""The face goes, the brain keeps its bytes, and an image that cannot be registered is refused."""

import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from cli_in_process import release_kit

from release_kit.bids.recordings.header import RecordingError, read_facts
from release_kit.bids.recordings.image import open_image
from release_kit.bids.sidecars import deface as deface_module
from release_kit.bids.sidecars.deface import deface, face_region


class TinyTemplate:
    """A template of 10 mm voxels whose brain is the upper back."""

    affine = np.diag([10.0, 10.0, 10.0, 1.0])
    affine[:3, 3] = -100
    near_brain = np.zeros((21, 21, 21), bool)
    near_brain[5:16, 2:17, 8:] = True


def facts_of(shape: tuple[int, int, int], affine: np.ndarray, folder: Path):
    path = folder / "any.nii"
    nibabel.save(nibabel.Nifti1Image(np.zeros(shape, np.int16), affine), path)
    return read_facts(path)


@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, 1), (-1, -1, 1), (1, 1, -1)])
def test_the_face_is_found_whichever_way_the_axes_run(tmp_path: Path, flips):
    affine = np.diag([10.0 * f for f in flips] + [1.0])
    affine[:3, 3] = [-100 * f for f in flips]
    face = face_region(facts_of((21, 21, 21), affine, tmp_path), TinyTemplate, np.eye(4))
    upright = face[tuple(slice(None, None, f) for f in flips)]
    at = lambda x, y, z: upright[round(x / 10) + 10, round(y / 10) + 10, round(z / 10) + 10]  # noqa: E731
    assert at(0, 90, -40) and at(30, 80, -30) and at(0, 70, -90)  # nose, eye, chin
    assert not at(0, 0, 0) and not at(0, -90, -80) and not at(0, 60, -20) and not at(0, 90, 80)  # brain, neck, crown


def test_the_face_moves_with_the_head(tmp_path: Path):
    facts = facts_of((21, 21, 21), TinyTemplate.affine, tmp_path)
    moved = np.eye(4)
    moved[2, 3] = 20.0
    assert np.array_equal(
        face_region(facts, TinyTemplate, moved)[:, :, 4:], face_region(facts, TinyTemplate, np.eye(4))[:, :, 2:-2]
    )


def test_a_series_is_refused(tmp_path: Path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4, 3), np.int16), np.eye(4)), tmp_path / "bold.nii")
    with pytest.raises(RecordingError, match="3 volumes"):
        deface(tmp_path / "bold.nii", tmp_path / "out.nii.gz")


def test_the_command_refuses_what_would_lose_data(tmp_path: Path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4)), tmp_path / "t1.nii.gz")
    before = (tmp_path / "t1.nii.gz").read_bytes()
    calls = {
        "exists already": ("t1.nii.gz", "t1.nii.gz"),
        "are the same file": ("t1.nii.gz", "t1.nii.gz", "--replace"),
        "does not end in .nii.gz": ("t1.nii.gz", "out.nii"),
        "no such file": ("t2.nii.gz", "out.nii.gz"),
    }
    for words, (source, out, *options) in calls.items():
        ran = release_kit("bids", "deface", tmp_path / source, tmp_path / out, *options)
        assert ran.returncode == 2 and words in ran.stderr, ran.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["t1.nii.gz"]
    assert (tmp_path / "t1.nii.gz").read_bytes() == before


@pytest.fixture(scope="module")
def head(tmp_path_factory) -> tuple[Path, np.ndarray, np.ndarray]:
    """A head as scanned: the template's real brain inside a made skull with a face, turned and moved; int16, scaled.

    Returns its path, which voxels are brain, and which are the middle of the face.
    """
    from scipy.ndimage import affine_transform, binary_dilation

    template = deface_module._template()
    t1, brain = template.t1[::2, ::2, ::2], template.brain[::2, ::2, ::2]
    padded = [np.pad(a, ((5, 5), (5, 20), (20, 5))) for a in (t1, brain.astype(np.float32))]
    affine = template.affine @ np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] -= (10, 10, 40)
    x, y, z = np.meshgrid(
        *(np.arange(n) * 2 + o for n, o in zip(padded[0].shape, affine[:3, 3], strict=True)), indexing="ij"
    )
    face = (np.hypot(x, (y - 60) * 0.9) < 45) & (z < -10) & (z > -100) & (y > 30)
    around = binary_dilation(padded[1] > 0, iterations=4)
    values = padded[0] * 800 + 250 * (face & ~around) + 300 * (binary_dilation(around, iterations=3) & ~around)
    inner = (np.hypot(x, y - 85) < 8) & (z < -55) & (z > -80)
    turn = nibabel.affines.from_matvec(nibabel.eulerangles.euler2mat(0.1, -0.05, 0.15), [12, -20, 15])
    grid = nibabel.affines.from_matvec(np.diag([-2.0, 2.0, 2.0]), [115, -150, -120])
    back = np.linalg.inv(affine) @ np.linalg.inv(turn) @ grid

    def seen(data: np.ndarray, order: int) -> np.ndarray:
        return affine_transform(data, back[:3, :3], back[:3, 3], output_shape=(112, 136, 118), order=order)

    image = nibabel.Nifti1Image(seen(values, 1).astype(np.int16), grid)
    image.header.set_slope_inter(0.5, 0)
    path = tmp_path_factory.mktemp("head") / "t1.nii"
    nibabel.save(image, path)
    return path, seen(padded[1], 0) > 0.5, seen(inner.astype(np.float32), 0) > 0.5


def stored(path: Path) -> np.ndarray:
    with open_image(path) as image:
        return np.array(next(iter(image.volumes())))


@pytest.mark.slow
def test_the_face_goes_and_the_brain_keeps_its_bytes(head, tmp_path: Path):
    path, brain, middle_of_face = head
    facts = deface(path, tmp_path / "a.nii.gz", tmp_path / "a.png")
    before, after = stored(path), stored(tmp_path / "a.nii.gz")
    assert before[middle_of_face].any() and not after[middle_of_face].any()
    assert np.array_equal(before[brain], after[brain])
    changed = before != after
    assert facts.n_removed == changed.sum() > 0 and not after[changed].any()
    assert facts.agreement > 0.8 and facts.brain_kept == 1.0
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    header = read_facts(tmp_path / "a.nii.gz")
    assert replace(header, raw_header=None) == replace(read_facts(path), raw_header=None)


@pytest.mark.slow
def test_the_command_gives_the_same_bytes_again_and_refuses_to_write_over(head, tmp_path: Path):
    path, out = head[0], tmp_path / "b.nii.gz"
    ran = release_kit("bids", "deface", path, out, "--json")
    assert ran.returncode == 0, ran.stderr
    first = out.read_bytes()
    assert json.loads(ran.stdout)["n_removed"] > 0
    assert release_kit("bids", "deface", path, out).returncode == 2
    again = release_kit("bids", "deface", path, out, "--replace", "--picture", tmp_path / "review" / "b.png")
    assert again.returncode == 0 and "look at" in again.stdout and out.read_bytes() == first
    assert (tmp_path / "review" / "b.png").is_file()


@pytest.mark.slow
def test_an_image_that_cannot_be_registered_is_refused_and_nothing_is_written(tmp_path: Path):
    noise = np.random.default_rng(3).normal(500, 60, (40, 48, 40)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(noise, np.diag([4.0, 4.0, 4.0, 1.0])), tmp_path / "noise.nii")
    with pytest.raises(RecordingError, match="cannot be registered"):
        deface(tmp_path / "noise.nii", tmp_path / "out.nii.gz", tmp_path / "out.png")
    assert [path.name for path in tmp_path.iterdir()] == ["noise.nii"]
