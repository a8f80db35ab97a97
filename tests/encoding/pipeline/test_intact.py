"""Maps and reports are made of files that are what was recorded; a damaged one is named and nothing is written."""

import shutil
from pathlib import Path

import pytest
from cli_in_process import release_kit
from encoding_study_factory import write_study

from release_kit.encoding.errors import AnalysisError
from release_kit.encoding.maps.results import write_maps
from release_kit.encoding.pipeline.finished import read_finished
from release_kit.encoding.pipeline.intact import is_file_of_run, read_intact
from release_kit.encoding.pipeline.run import run_analysis
from release_kit.encoding.report.report import write_report
from release_kit.encoding.spec.read import read_analysis


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    run_analysis(read_analysis(write_study(folder, subjects=("01",))))
    return folder


@pytest.fixture
def study(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "study"))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    "pattern",
    [
        "tables/encoding_scores.parquet", "tables/partition.parquet", "masks/sub-01.npy", "masks/sub-01.json",
        "fits/*story-words*/voxels.parquet", "fits/*/tests/*/voxels.parquet", "fits/*/tests/*/test.json",
        "partitions/*/voxels.parquet", "partitions/*/means.parquet",
    ],
)  # fmt: skip
def test_one_flipped_bit_is_named_and_no_map_and_no_page_is_made(study: Path, pattern: str):
    path = sorted(study.glob(pattern))[0]
    flip(path)
    name = path.relative_to(study).as_posix()
    for make in (read_intact, write_maps, write_report):
        with pytest.raises(AnalysisError) as caught:
            make(study)
        assert name in str(caught.value) and "encoding run makes what is damaged again" in str(caught.value)
    assert not (study / "derivative").exists() and not (study / "report").exists()
    assert run_analysis(read_analysis(study)).results  # as promised
    assert read_intact(study).subjects == ("01",)


def test_the_command_refuses_all_that_is_damaged_at_once(study: Path):
    flip(study / "tables/layers.parquet")
    (study / "masks/sub-01.npy").unlink()
    outcome = release_kit("encoding", "report", study)
    assert outcome.returncode == 1
    assert "2 files" in outcome.stderr and "tables/layers.parquet: sha256" in outcome.stderr
    assert "masks/sub-01.npy: is missing" in outcome.stderr
    assert not (study / "derivative").exists()


def test_a_record_of_a_fit_that_lists_another_digest_is_named(study: Path):
    record = read_finished(study).record
    path = study / "fits" / record["chosen"][0]["fit_id"] / "fit.json"
    digest = record["files"][f"fits/{record['chosen'][0]['fit_id']}/voxels.parquet"]
    path.write_text(path.read_text().replace(digest, digest[::-1]))
    with pytest.raises(AnalysisError, match="lists another digest of voxels"):
        read_intact(study)


def test_a_file_that_was_edited_since_is_said_and_does_not_stop_the_report(study: Path):
    assert is_file_of_run(read_finished(study))
    file = study / "encoding.yaml"
    file.write_text(file.read_text().replace("permutations: 99", "permutations: 199"))
    outcome = release_kit("encoding", "report", study, "--no-page")
    assert outcome.returncode == 0 and "encoding.yaml has changed since" in outcome.stdout


def test_the_record_says_which_voxels_are_the_best(study: Path):
    assert read_finished(study).record["regions"] == {"top_share": 0.1, "top_most": 5000}
