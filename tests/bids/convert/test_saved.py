"""Conversion of a dataset that lies under git-annex: content by key, links replaced, clones without content."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import bids_factory
import nibabel
import numpy as np
import pytest
from bids_factory import replace_in_recipe, snapshot

from release_kit.bids.convert.presence import annex_sha256, contents
from release_kit.bids.convert.run import ConvertReport, convert
from release_kit.bids.recipe.read import read_recipe
from release_kit.bids.versioning.annex import Repository
from release_kit.bids.versioning.guard import guarded
from release_kit.bids.versioning.save import save_version
from release_kit.core.errors import IntegrityError, ReleaseKitError

Convert = Callable[..., ConvertReport]
IMAGE = "sub-01/func/sub-01_task-film_run-01_bold.nii.gz"


@pytest.fixture
def saved(out: Path, converted: Convert) -> Path:
    """The dataset, converted and saved as a version."""
    converted()
    save_version(out, version="1.0.0", author="Ada Example <ada@example.org>", date="2026-01-02")
    assert (out / IMAGE).is_symlink()
    return out


def test_saved_dataset_is_unchanged_for_the_next_conversion(saved: Path, converted: Convert):
    before = snapshot(saved)
    report = converted()
    assert not report.written and not report.removed and snapshot(saved) == before


def test_conversion_waits_for_no_save_and_refuses_while_one_is_at_work(saved: Path, converted: Convert):
    with guarded(saved / ".git"), pytest.raises(ReleaseKitError, match="another save is at work"):
        converted()
    converted()


@pytest.mark.slow
def test_changed_recording_replaces_the_link_and_leaves_the_old_content(study: Path, saved: Path, converted: Convert):
    old = (saved / IMAGE).resolve()
    before = old.read_bytes()
    bids_factory.write_nifti(study / "AB12" / "film_run1.nii.gz", np.full((*bids_factory.SHAPE, 20), 5))
    assert converted().written == (IMAGE,)
    assert not (saved / IMAGE).is_symlink() and old.read_bytes() == before
    assert (np.asanyarray(nibabel.load(saved / IMAGE).dataobj) == 5).all()


@pytest.mark.slow
def test_run_that_left_the_recipe_leaves_a_saved_dataset(study: Path, saved: Path, converted: Convert):
    replace_in_recipe(study, "overlap_s: 4}}", 'overlap_s: 4}, missing: {"02": scanner stopped}}')
    (study / "CD34" / "film_run2.nii.gz").unlink()
    assert "sub-02/func/sub-02_task-film_run-02_bold.nii.gz" in converted().removed
    assert not list(saved.glob("sub-02/func/*run-02*"))


def test_clone_without_content_is_known_by_its_keys(study: Path, saved: Path, tmp_path: Path, converted: Convert):
    clone = tmp_path / "clone"
    Repository(tmp_path).git("clone", "--quiet", str(saved), str(clone))
    assert not (clone / IMAGE).exists()
    assert contents(clone, [IMAGE], None) == {IMAGE: snapshot(saved)[IMAGE]}
    report = convert(read_recipe(study), clone)
    assert not report.written
    report = convert(read_recipe(clone / "code/release_kit/recipe.yaml"), clone, only="annotations")
    assert not report.written
    assert [problem.split(" is not here")[0] for problem in report.problems] == ["the content of 8 files"]
    recipe = read_recipe(study)
    strict = replace(recipe, privacy=replace(recipe.privacy, words=("Ben Example",)))
    with pytest.raises(IntegrityError, match=r"CITATION\.cff") as refused:
        convert(strict, clone, only="annotations")
    assert "not here" not in str(refused.value)


def test_link_to_nothing_is_no_annexed_content_where_there_is_no_git(out: Path, converted: Convert):
    converted()
    (out / "sub-03.nii.gz").symlink_to(".git/annex/objects/aa/SHA256E-s4--00.nii.gz/SHA256E-s4--00.nii.gz")
    with pytest.raises(IntegrityError, match=r"sub-03\.nii\.gz: its content is not here"):
        converted()


def test_pointer_file_stands_for_its_content(tmp_path: Path):
    sha256 = "ab" * 32
    pointer = tmp_path / "unlocked.nii.gz"
    pointer.write_text(f"/annex/objects/SHA256E-s12--{sha256}.nii.gz\n")
    assert annex_sha256(pointer) == sha256
    shutil.copyfile(pointer, tmp_path / "longer")
    with (tmp_path / "longer").open("a") as stream:
        stream.write("and more\n")
    assert annex_sha256(tmp_path / "longer") is None
