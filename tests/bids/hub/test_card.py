"""The card of a released dataset: the dataset's own page, and numbers that follow from its files."""

from pathlib import Path

import nibabel
import pyarrow.parquet as pq
import pytest
from bids_hub import build

from release_kit.bids.release_study import write_release_study
from release_kit.core.hashing import hash_file
from release_kit.core.manifest import read_manifest
from release_kit.core.study import read_study
from release_kit.release.cards.compare import check_cards
from release_kit.release.cards.foreign import check_foreign
from release_kit.release.cards.inputs import read_card_inputs
from release_kit.release.cards.trace import parse_trace, visible_numbers

CARD = "release/index/README.md"


def shown(study: Path) -> dict[tuple, str]:
    """Return (table, keys, column) → the number that a reader sees."""
    return {address: text for address, (text, _) in visible_numbers((study / CARD).read_text()).items()}


def test_numbers_of_recordings_are_those_of_the_images(study: Path):
    seen = shown(study)
    for subject in ("01", "02"):
        images = sorted((study / "dataset").glob(f"sub-{subject}/func/*_bold.nii.gz"))
        headers = [nibabel.load(path).header for path in images]
        seconds = sum(header.get_data_shape()[3] * float(header.get_zooms()[3]) for header in headers)
        assert seen["subjects", (subject,), "Runs"] == str(len(images)) == "2"
        assert seen["subjects", (subject,), "Minutes"] == f"{seconds / 60:.1f}"
    assert seen["subjects", ("all 2",), "Runs"] == "4"


def test_numbers_of_annotations_are_those_of_the_tables(study: Path):
    seen = shown(study)
    for level in ("object", "story"):
        rows = pq.read_table(study / "dataset" / "stimuli" / "annotations" / f"{level}.parquet").to_pylist()
        assert seen["annotations", (level, "en"), "Intervals"] == str(len(rows))
        assert seen["annotations", (level, "en"), "Annotators"] == str(len({row["annotator"] for row in rows}))
        assert seen["annotations", (level, "en"), "Minutes"] == f"{sum(row['duration_s'] for row in rows) / 60:.1f}"


def test_numbers_of_parts_are_those_of_the_manifest(study: Path):
    seen = shown(study)
    for cell in read_manifest(study / "release").cells:
        (term,) = [f"`{name}={level}`" for name, level in cell.levels.items() if level != "none"]
        assert seen["parts", (term,), "Files"] == str(len(cell.files))
        assert seen["parts", (term,), "MB"] == f"{sum(file.size_bytes for file in cell.files) / 1e6:.2f}"


def test_every_source_of_a_number_is_a_file_of_the_release_with_its_digest(study: Path):
    trace = parse_trace((study / CARD).read_text(), CARD)
    origins = {path for t in trace.numbers.values() for _, _, origin in t["rows"] for path in origin.get("files", ())}
    assert len(origins) == 4 + 2 + 1
    assert origins <= set(trace.sources)
    assert all(hash_file(study / "dataset" / path).sha256 == sha256 for path, sha256 in trace.sources.items())


def test_the_page_of_the_dataset_is_there_in_full_and_front_matter_passes_the_lint(study: Path):
    text = (study / CARD).read_text()
    assert (study / "dataset" / "README.md").read_text().strip() in text
    assert "config_name: story" in text and "path: stimuli/annotations/story.parquet" in text
    assert check_foreign(study / "release" / "index", None, study / "dataset").problems == ()


def test_an_edited_number_is_found_and_written_words_survive(study: Path):
    card = study / CARD
    text = card.read_text()
    row = next(line for line in text.split("\n") if line.startswith("| object | en |"))
    edited = text.replace(row, row.replace("| object | en | 1 |", "| object | en | 7 |"))
    words = edited.replace("hand-written limits -->\n", "hand-written limits -->\nOnly two people.\n")
    assert text != edited != words
    card.write_text(words)
    report = check_cards(read_card_inputs(read_study(study)))
    assert [problem.code for problem in report.problems] == ["number-edited"]
    build(study)
    assert check_cards(read_card_inputs(read_study(study))).ok
    assert "Only two people." in card.read_text() and row in card.read_text()


def test_cards_of_an_untouched_build_are_right_to_the_byte(study: Path):
    report = check_cards(read_card_inputs(read_study(study)))
    assert report.problems == () and report.n_numbers == 3 * 2 + 1 + 2 * 3 + 4 * 2


@pytest.mark.parametrize("name", ["README", "README.rst"])
def test_another_form_of_the_page_is_taken_over_and_does_not_lie_beside_the_card(
    dataset: Path, tmp_path: Path, name: str
):
    (dataset / "README.md").rename(dataset / name)
    write_release_study(dataset, tmp_path / "study")
    build(tmp_path / "study")
    index = {entry.path for entry in read_manifest(tmp_path / "study" / "release").index}
    assert "README.md" in index and name not in index
    assert "Two people watch a film" in (tmp_path / "study" / CARD).read_text()


def test_a_card_with_an_account_says_how_to_get_one_subject_and_one_level(dataset: Path, tmp_path: Path):
    write_release_study(dataset, tmp_path / "study", namespace="lab")
    build(tmp_path / "study")
    text = (tmp_path / "study" / CARD).read_text()
    assert "release-kit download lab/two-films@v1.0.0 copy --select subject=01" in text
    assert "release-kit download lab/two-films@v1.0.0 copy --select level=object" in text
    assert 'load_dataset("lab/two-films", "story", revision="v1.0.0", split="train")' in text


def test_lines_that_load_a_level_are_python_whatever_its_name(dataset: Path, tmp_path: Path):
    tables = dataset / "stimuli" / "annotations"
    (tables / "story.parquet").rename(tables / "class.parquet")
    write_release_study(dataset, tmp_path / "study", namespace="lab")
    build(tmp_path / "study")
    lines = (tmp_path / "study" / CARD).read_text().partition("```python\n")[2].partition("```")[0]
    assert 'load_dataset("lab/two-films", "class"' in lines
    compile(lines, "card", "exec")
