"""The datasets of the demo come out of the installed harness, with their origin, and the test is kept apart."""

from pathlib import Path

import pytest

from release_kit.core.errors import ArtifactError, RecordError, StudyError
from release_kit.sft.old_data import MAX_CHARACTERS, DataRecord, prepare_datasets, read_dataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    prepare_datasets(folder)
    return folder


def test_records_say_where_every_example_came_from(folder: Path):
    for name, record in prepare_datasets(folder).items():
        rows, read = read_dataset(folder, name)
        assert read == record == DataRecord.from_dict(record.to_dict(), name)
        assert len(rows) == record.n_examples > 30
        assert record.license == "mit" and record.package_version


def test_preparing_twice_changes_no_file(folder: Path):
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    prepare_datasets(folder)
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()} == before


def test_held_out_questions_are_never_trained_on(folder: Path):
    test, _ = read_dataset(folder, "mmlu-holdout")
    train, _ = read_dataset(folder, "mmlu-dev")
    shared = {" ".join(row["question"].lower().split()) for row in test}
    assert not [row["question"] for row in train if " ".join(row["question"].lower().split()) in shared]
    assert len({row["prompt"] for row in train}) == len(train)
    subjects = [row["subject"] for row in test]
    assert len(subjects) == len(set(subjects))


def test_questions_have_four_options_and_a_letter(folder: Path):
    for name in ("mmlu-dev", "mmlu-holdout"):
        for row in read_dataset(folder, name)[0]:
            assert len(row["choices"]) == 4 and all(row["choices"])
            assert row["completion"] == f" {'ABCD'[row['answer']]}"
            assert row["prompt"].endswith("\nAnswer:") and len(row["prompt"]) <= MAX_CHARACTERS


def test_changed_examples_are_refused(folder: Path, tmp_path: Path):
    for file in folder.glob("bbh-cot.*"):
        (tmp_path / file.name).write_bytes(file.read_bytes().replace(b"Question", b"question"))
    with pytest.raises(ArtifactError, match="its record says"):
        read_dataset(tmp_path, "bbh-cot")


def test_unknown_dataset_is_refused_with_the_nearest(folder: Path):
    with pytest.raises(StudyError, match="did you mean 'mmlu-dev'"):
        read_dataset(folder, "mmlu-def")


def test_record_with_an_unknown_key_is_refused():
    with pytest.raises(RecordError, match="is missing"):
        DataRecord.from_dict({"schema_version": 1, "name": "x"}, "x.json")
