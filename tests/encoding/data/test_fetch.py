"""Of a published dataset one subject and one level arrive, proved by their keys; the rest stays where it is."""

import json
import os
import shutil
from pathlib import Path

import encoding_data_factory as files
import encoding_published_factory as published
import numpy as np
import pytest
import versioning_factory
from click.testing import CliRunner
from published_twin import make_published, published_tree, trap

from release_kit.bids.versioning.annex import NOBODY, Repository
from release_kit.cli.encoding_fetch import fetch as fetch_command
from release_kit.core.errors import ReleaseKitError, UsageError
from release_kit.encoding.data.fetch import FetchReport, fetch
from release_kit.encoding.data.fetch_plan import Wish, layout_of, plan_fetch
from release_kit.encoding.data.layout import ResponsesSpec, open_dataset
from release_kit.encoding.data.samples import SampleRule, plan_samples

ATTRIBUTES = "* annex.backend=SHA256E\n**/.git* annex.largefiles=nothing\n*.json annex.largefiles=largerthan=1mb\n"
OTHERS = ("breakingbad", "bigbangtheory", "crown", "heroes", "dreamgirls", "glee", "mentalist", "gis")
SUITS = ResponsesSpec(layout="ds005531", leave_out=OTHERS)


def sibling(folder: Path) -> Path:
    """Make a DataLad dataset of what lies in ``folder``."""
    repository = Repository(folder, NOBODY)
    repository.run(["datalad", "create", "--force", str(folder)])
    (folder / ".gitattributes").write_text(ATTRIBUTES)
    repository.run(["datalad", "save", "-m", "as published"])
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a stand-in of the published dataset: two subjects, one film, a pickle that must not be touched."""
    root = tmp_path_factory.mktemp("source") / "ds005531"
    published.write_published(root, ("suits",), ("S01", "S02"))
    accuracy = root / "derivatives/accuracy/sub-S01.pkl"
    accuracy.parent.mkdir(parents=True)
    accuracy.write_bytes(trap(root.parent / "unpickled"))
    (root / "sub-S01/func/sub-S01_task-suits_run-01_bold.nii.gz").write_bytes(b"raw" * 1000)
    return sibling(root)


def contents(folder: Path) -> set[str]:
    """Return the annexed files whose content is here."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if ".git" not in path.parts and path.is_symlink() and path.exists()
    }


def suits(source: Path, dest: Path, **options):
    """Fetch the film of one subject with its stories."""
    return fetch(str(source), dest, "S01", "story", tasks=("suits",), **options)


@pytest.fixture(scope="module")
def fetched(source, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FetchReport]:
    """Return a download and what was said of it; only to be read."""
    dest = tmp_path_factory.mktemp("fetched") / "here"
    return dest, suits(source, dest)


@pytest.fixture
def own(fetched, tmp_path: Path) -> Path:
    """Return a copy of the download that may be changed."""
    return versioning_factory.copied(fetched[0], tmp_path / "own")


def test_one_subject_and_level_arrive_and_can_be_analysed(source, fetched):
    dest, report = fetched
    assert report.ok and report.layout == "ds005531"
    here = contents(dest)
    assert {file.path for file in report.files} == here
    assert {Path(path).name for path in here if "annotation" in path} == {
        f"suits_run-0{n}_story_each1sec.txt" for n in (1, 2, 3)
    }
    assert {Path(path).name for path in here if "preprocessed" in path} == {
        "vset_100.mat", *(f"sub-S01_task-suits_run-0{n}.mat" for n in (1, 2, 3))
    }  # fmt: skip
    assert not any("S02" in path or path.endswith((".pkl", "_bold.nii.gz")) for path in here)
    assert report.n_fetched == report.n_verified == len(here)
    dataset = open_dataset(dest, SUITS)
    assert dataset.subjects == ("S01",)
    samples = plan_samples(dataset.runs("S01"), SampleRule())
    assert samples.n == 754 + 968 + 680 - 60
    assert set(dataset.annotations()["level"].to_pylist()) == {"story"}
    run = dataset.runs("S01")[0]
    assert dataset.responses("S01", run).shape == (754 + published.N_AFTER, dataset.mask("S01").n_voxels)
    assert not (source.parent / "unpickled").exists()


def test_digest_is_the_same_whether_annexed_or_not(fetched, tmp_path):
    dest, _ = fetched
    annexed = open_dataset(dest, SUITS)
    plain = tmp_path / "plain"
    for name in ("preprocessed_data/sub-S01", "pycortex_db/sub-S01"):
        shutil.copytree(dest / "derivatives" / name, plain / "derivatives" / name)
    run = annexed.runs("S01")[0]
    assert annexed.files("S01", run)[0].is_symlink()
    assert annexed.digest("S01", run) == open_dataset(plain, SUITS).digest("S01", run)


def test_sizes_are_said_before_and_nothing_is_changed(source, fetched, tmp_path):
    report = suits(source, tmp_path / "here", dry_run=True)
    assert report.ok and not (tmp_path / "here").exists()
    expected = {file.path: (source / file.path).stat().st_size for file in report.files}
    assert {file.path: file.size_bytes for file in report.files} == expected
    assert report.missing_bytes == report.size_bytes == sum(expected.values()) < report.total_bytes
    assert {file.path for file in fetched[1].files} == set(expected)
    after = suits(source, fetched[0], dry_run=True)
    assert after.missing_bytes == 0 and all(file.here for file in after.files)


def test_a_second_call_continues_and_a_third_adds(source, own):
    lost = own / "derivatives/preprocessed_data/sub-S01/sub-S01_task-suits_run-02.mat"
    repository = Repository(own, NOBODY)
    repository.run(["git-annex", "drop", "--force", str(lost)])
    assert not lost.exists()
    report = suits(source, own)
    assert report.ok and report.n_fetched == 1 and lost.exists()
    more = fetch(str(source), own, "S02", ["speech"], language="en", tasks=("suits",))
    assert more.ok
    levels = {Path(path).name.partition("_run-0")[2][2:] for path in contents(own) if "annotation/" in path}
    assert levels == {"story_each1sec.txt", "speechTranscription_EN_each1sec.txt"}
    assert open_dataset(own, SUITS).subjects == ("S01", "S02")


def test_bytes_that_are_not_those_of_the_key_are_had_again(source, own):
    path = (own / "derivatives/preprocessed_data/sub-S01/sub-S01_task-suits_run-03.mat").resolve()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    os.chmod(path, 0o644)
    path.write_bytes(data)
    report = suits(source, own)
    assert report.ok and report.n_fetched == 1
    assert path.read_bytes() != bytes(data)


@pytest.mark.slow
def test_content_that_the_source_lacks_is_named(source, tmp_path):
    broken = versioning_factory.copied(source, tmp_path / "broken")
    versioning_factory.writable(broken / ".git/annex/objects")
    (broken / "derivatives/preprocessed_data/sub-S01/vset_100.mat").resolve().unlink()
    report = suits(broken, tmp_path / "here")
    assert not report.ok
    (said,) = report.failed
    assert said.startswith("derivatives/preprocessed_data/sub-S01/vset_100.mat: ")
    assert report.n_verified == len(report.files) - 1


def test_a_folder_with_something_else_is_left_alone(source, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").write_text("mine")
    with pytest.raises(ReleaseKitError, match="is not empty"):
        suits(source, tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"subject": "S1"}, r"no subject 'S1'.*there are: S01, S02"),
        ({"level": "stroy"}, r"no level 'stroy'.*story"),
        ({"tasks": ("suit",)}, r"no task 'suit'.*suits"),
        ({"language": "fr"}, r"no language 'fr'.*ja"),
        ({"version": "9.9"}, r"no version '9\.9'"),
    ],
)
def test_what_there_is_not_is_said_with_what_there_is(source, fetched, asked, said):
    options = {"subject": "S01", "level": "story", "tasks": ("suits",), **asked}
    with pytest.raises(UsageError, match=said):
        fetch(str(source), fetched[0], dry_run=True, **options)


@pytest.mark.slow
def test_responses_of_a_bids_dataset_arrive_without_raw_recordings(write_dataset, tmp_path):
    written = write_dataset()
    files.nifti(
        written.root / "sub-01/func/sub-01_task-crown_run-01_bold.nii.gz", np.zeros((*files.SHAPE, 30), np.float32)
    )
    source = sibling(written.root)
    mask = "sub-{subject}/anat/sub-{subject}_space-T1w_mask.nii.gz"
    spec = ResponsesSpec(derivative="clean", space="T1w", mask=mask)
    report = fetch(str(source), tmp_path / "here", "02", "story", responses=spec)
    assert report.ok and report.layout == "bids"
    here = contents(tmp_path / "here")
    assert not any(("sub-01" in path and "_bold" in path) or "object" in path for path in here)
    dataset = open_dataset(tmp_path / "here", spec)
    run = next(run for run in dataset.runs("02") if run.name == "task-glee_run-02")
    assert np.array_equal(dataset.responses("02", run), written.values["02", run.name][:, written.selected])
    assert set(dataset.annotations()["level"].to_pylist()) == {"story"}


def test_command_says_sizes_first_and_then_what_was_proved(source, own):
    versioning_factory.writable(own / ".git/annex/objects")
    (own / "derivatives/preprocessed_data/sub-S01/vset_100.mat").resolve().unlink()
    arguments = [str(source), str(own), "--subject", "S01", "--level", "story", "--task", "suits"]
    dry = CliRunner().invoke(fetch_command, [*arguments, "--dry-run"])
    assert dry.exit_code == 0, dry.output
    assert "8 files of " in dry.output and "nothing was fetched" in dry.output
    assert "4 files  derivatives/preprocessed_data/sub-S01" in dry.output
    ran = CliRunner().invoke(fetch_command, arguments)
    assert ran.exit_code == 0, ran.output
    assert "1 fetched now, 8 held against their keys" in ran.output
    machine = json.loads(CliRunner().invoke(fetch_command, [*arguments, "--json"]).stdout)
    assert machine["ok"] and machine["n_fetched"] == 0 and machine["n_verified"] == 8


def test_of_the_real_tree_a_twelfth_is_needed():
    tree = published_tree()
    paths = [file.path for file in tree]
    assert layout_of(paths) == "ds005531"
    spec, wish = ResponsesSpec(layout="ds005531"), Wish(subject="S01", levels=("story",))
    needed = set(plan_fetch(paths, wish, spec, {}, "ds005531"))
    size = sum(file.size_bytes for file in tree if file.path in needed and file.annex_key)
    whole = sum(file.size_bytes for file in tree if file.annex_key)
    assert (round(size / 1e9, 1), round(whole / 1e9, 1)) == (23.8, 282.5)
    assert sum(path.endswith("_story_each1sec.txt") for path in needed) == 43
    assert sum(path.endswith(".mat") for path in needed) == 44


@pytest.mark.slow
def test_a_twin_of_the_whole_published_tree_gives_one_subject(tmp_path):
    marker = tmp_path / "unpickled"
    root = make_published(tmp_path / "twin", marker=marker, subjects=2)
    published.write_published(root, ("suits",), ("S01",))
    shutil.rmtree(root / ".datalad")  # its config is no config in the twin
    source = sibling(root)
    report = fetch(str(source), tmp_path / "here", "S01", ["story", "object"], tasks=("suits",))
    assert report.ok, report.failed
    assert sum(file.path.startswith("derivatives/") for file in report.files) == 3 + 1 + 1 + 6
    assert report.n_files > 1000
    dataset = open_dataset(tmp_path / "here", SUITS)
    assert [run.name for run in dataset.runs("S01")] == [f"task-suits_run-0{n}" for n in (1, 2, 3)]
    assert set(dataset.annotations()["level"].to_pylist()) == {"story", "object"}
    assert not marker.exists()
