"""One unit from its data to its cells: what it leaves, what it refuses, what it does when memory or disk run out."""

import json
import multiprocessing
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sft.engine import tiny

from release_kit.core.canonical import digest
from release_kit.core.cell import read_cells
from release_kit.core.errors import UsageError
from release_kit.core.study import Study, read_study
from release_kit.engine.failures import Failures
from release_kit.engine.ledger import ledger_folder
from release_kit.engine.pull import Puller
from release_kit.sft.engine.grid import RunOptions, run_study
from release_kit.sft.engine.provenance import artifact_digests
from release_kit.sft.engine.stale import find_stale, remove_stale
from release_kit.sft.engine.units import plan_units
from release_kit.sft.engine.work import Worker, make_perform

ONE_RUN = {
    "seeds": [0],
    "include": [
        {"dataset": "colours", "method": "full", "epoch": [1, 3]},
        {"dataset": "none", "method": "none", "epoch": 0},
    ],
}


def _work(study: Study, on_event: Callable[[dict], None] = lambda event: None) -> list[dict[str, Any]]:
    """Do everything in this process and return the events."""
    events: list[dict[str, Any]] = []

    def emit(event: Mapping[str, Any]) -> None:
        events.append(dict(event))
        on_event(dict(event))

    perform = Worker(study).perform
    Puller(study_folder=study.folder, units=plan_units(study), perform=perform, emit=emit).run()
    return events


def _with_training(**changes: Any) -> dict[str, Any]:
    return ONE_RUN | {"settings": {"training": tiny.TRAINING | changes, "evaluation": {"tasks": ["colours_test"]}}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Study:
    study = tiny.write_study(tmp_path_factory.mktemp("work") / "study")
    _work(study)
    return study


def test_every_cell_leads_to_its_run_its_data_and_the_bytes_of_its_artifact(finished: Study):
    cells, problems = read_cells(finished.folder)
    assert not problems and len(cells) == 9
    for cell in cells.values():
        made = cell.provenance
        assert made["base_model"]["name"] == "test-lab/tiny" and len(made["base_model"]["digest"]) == 64
        assert (finished.folder / "cells" / cell.cell_id / "eval" / "colours_test.json").is_file()
        if cell.levels["method"] == "none":
            assert cell.artifact_path is None and "data" not in made
            continue
        run = finished.folder / "runs" / made["run_id"]
        document = json.loads((run / "run.json").read_text())
        assert digest(document["identity"])[:16] == run.name == document["run_id"]
        assert cell.artifact_path == f"runs/{run.name}/epoch-{cell.levels['epoch']}"
        assert made["artifact"] == artifact_digests(finished.folder / cell.artifact_path)
        assert list(made["data"]) == ["colours"] and made["seed"] == cell.levels["seed"]
        done = json.loads((run / "done.json").read_text())
        assert done["artifact"][f"epoch-{cell.levels['epoch']}"] == made["artifact"]
        assert made["steps"] == 6 * cell.levels["epoch"] and done["n_steps"] == len(done["losses"]) == 18


def test_finished_study_holds_nothing_unfinished(finished: Study):
    names = [path.name for path in finished.folder.rglob("*")]
    assert "state" not in names and not [name for name in names if name.startswith(".rk-tmp-")]
    leases = list((ledger_folder(finished.folder) / "leases").iterdir())
    assert all(json.loads(path.read_text())["released"] for path in leases), "nobody holds anything"
    assert not [path for path in leases if path.name.startswith(("run-", "base-"))], "units that are done are forgotten"


def test_cells_that_were_lost_are_made_again_from_the_run_that_is_there(finished: Study, tmp_path: Path):
    shutil.copytree(finished.folder, tmp_path / "study")
    study = read_study(tmp_path / "study")
    cell = next(cell for cell in read_cells(study.folder)[0].values() if cell.levels["method"] == "lora")
    path = study.folder / "cells" / cell.cell_id / "cell.json"
    before = path.read_bytes()
    shutil.rmtree(path.parent)
    events = _work(study)
    assert [event["event"] for event in events if event["event"] != "step"] == ["started", "done"]
    assert not [event for event in events if event.get("stage") == "train"]
    after, expected = json.loads(path.read_bytes()), json.loads(before)
    after["provenance"].pop("evaluation_seconds"), expected["provenance"].pop("evaluation_seconds")
    assert after == expected


def test_complete_cells_whose_data_or_base_changed_are_named_and_made_again_on_demand(tmp_path: Path):
    study = tiny.write_study(tmp_path / "study", **ONE_RUN)
    options = RunOptions(make_perform=make_perform, context="fork")
    _work(study)
    assert run_study(study, options=options).ok
    path = study.folder / "data" / "colours.jsonl"
    path.write_text(path.read_text().replace("grass", "sky"))
    report = run_study(study, options=options)
    assert not report.ok and "made from data 'colours'" in report.stale[0].what
    assert len(report.stale) == 3, "the untouched base was scored on these data too"
    tiny.write_base(study.folder / "bases" / "tiny", seed=1)
    stale = find_stale(study, plan_units(study))
    assert len(stale) == 3 and all("made from weights of 'tiny'" in cell.what for cell in stale)
    remove_stale(study, stale)
    _work(study)
    assert run_study(study, options=options).ok and len(list((study.folder / "runs").iterdir())) == 2


def test_complete_cells_whose_task_tokenizer_or_checkpoint_changed_are_named(tmp_path: Path):
    study = tiny.write_study(tmp_path / "study", **ONE_RUN)
    _work(study)
    units = plan_units(study)
    assert find_stale(study, units) == []
    task = next((study.folder / "tasks").glob("*.yaml"))
    text = task.read_text(encoding="utf-8")
    task.write_text(text + "# changed\n", encoding="utf-8")
    assert all(f"scored on the task {task.stem!r}" in cell.what for cell in find_stale(study, units))
    assert len(find_stale(study, units)) == sum(len(unit.cells) for unit in units)
    task.write_text(text, encoding="utf-8")
    config = study.folder / "bases" / "tiny" / "tokenizer_config.json"
    before = config.read_bytes()
    config.write_bytes(before + b"\n")
    assert all("made from files of 'tiny'" in cell.what for cell in find_stale(study, units))
    config.write_bytes(before)
    gone = next((study.folder / "runs").glob("*/*/*.safetensors"))
    gone.unlink()
    (cell,) = find_stale(study, units)
    assert f"1 file of {gone.parent.relative_to(study.folder).as_posix()} is gone: {gone.name}" in cell.what


def test_runs_in_one_batch_are_their_own_runs_and_lose_as_much_as_alone(finished: Study, tmp_path: Path):
    study = tiny.write_study(tmp_path / "study")
    options = RunOptions(make_perform=make_perform, context="fork", together=4, select={"method": ("lora",)})
    (unit,) = plan_units(study, options.select, together=4)
    assert len(unit.plans) == 2 and "1 more in one batch" in unit.title
    assert run_study(study, workers=1, options=options).ok
    runs = {path.name: json.loads((path / "done.json").read_text()) for path in (study.folder / "runs").iterdir()}
    alone = {path.name: json.loads((path / "done.json").read_text()) for path in (finished.folder / "runs").iterdir()}
    assert len(runs) == 2 and not set(runs) & set(alone), "which runs share a batch is part of their identity"
    losses = sorted(done["losses"] for done in alone.values() if done["method"] == "lora")
    for together, expected in zip(sorted(done["losses"] for done in runs.values()), losses, strict=True):
        assert together == pytest.approx(expected, rel=1e-4)
    cells = read_cells(study.folder)[0].values()
    assert len(cells) == 4 and all(cell.provenance["n_together"] == 2 for cell in cells)
    assert "state" not in [path.name for path in study.folder.rglob("*")]
    with pytest.raises(UsageError, match="is 2, but this study was begun with 4"):
        run_study(study, options=replace(options, together=2))
    assert run_study(study, options=replace(options, together=None)).ok


def test_runs_that_cannot_share_a_batch_are_done_one_by_one(tmp_path: Path):
    from transformers import MistralConfig, MistralForCausalLM

    study = tiny.write_study(tmp_path / "study")
    config = MistralConfig(
        vocab_size=len(tiny.WORDS), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=64, sliding_window=2,
    )  # fmt: skip
    MistralForCausalLM(config).save_pretrained(study.folder / "bases" / "tiny")
    units = plan_units(study, {"method": ("lora",)}, together=4)
    Puller(study_folder=study.folder, units=units, perform=Worker(study).perform, emit=lambda event: None).run()
    assert not Failures(ledger_folder(study.folder)).read_all()
    assert all(cell.provenance["n_together"] == 1 for cell in read_cells(study.folder)[0].values())
    assert len(list((study.folder / "runs").iterdir())) == 2, "the batch leaves nothing behind"


def test_identity_holds_the_type_of_numbers_and_training_has_the_threads_that_it_says(tmp_path: Path):
    import torch

    study = tiny.write_study(tmp_path / "study", **_with_training(compute="auto", threads=2))
    seen: set[int] = set()
    try:
        _work(study, lambda event: seen.add(torch.get_num_threads()) if event.get("n_steps") else None)
    finally:
        torch.set_num_threads(1)
    (run,) = (study.folder / "runs").iterdir()
    identity = json.loads((run / "run.json").read_text())["identity"]
    assert identity["settings"]["compute"] == json.loads((run / "done.json").read_text())["compute"] != "auto"
    assert 2 in seen


def test_run_that_cannot_be_prepared_leaves_the_others_of_its_batch_to_be_done_alone(tmp_path: Path):
    sets = {"colours": {}, "missing": {}}
    factors = {"base_model": {"tiny": {}}, "dataset": sets, "method": ["lora"], "epoch": [1]}
    plain = {"baseline": None, "results_only": [], "include": [], "seeds": [0]}
    study = tiny.write_study(tmp_path / "study", factors=factors, **plain)
    options = RunOptions(make_perform=make_perform, context="fork", together=2)
    report = run_study(study, workers=1, options=options)
    (failure,) = report.failed
    assert failure.error == "GroupError" and "1 of 2 runs" in failure.what and "data/missing.jsonl" in failure.what
    assert [cell.levels["dataset"] for cell in read_cells(study.folder)[0].values()] == ["colours"]
    shutil.copy(study.folder / "data" / "colours.jsonl", study.folder / "data" / "missing.jsonl")
    assert run_study(study, workers=1, options=replace(options, retry_failed=True)).ok
    assert len(list((study.folder / "runs").iterdir())) == 1, "the same examples under another name are the same run"


def test_two_units_that_choose_the_same_examples_share_one_run(tmp_path: Path):
    sizes = {
        "base_model": {"tiny": {}},
        "dataset": ["colours"],
        "method": ["full"],
        "data_size": [0, 12],
        "epoch": [1, 2],
    }
    include = [{"data_size": 0, "epoch": 2}, {"data_size": 12, "epoch": 1}]
    settings = {"training": tiny.TRAINING | {"epochs": 2}, "evaluation": {"tasks": ["colours_test"]}}
    plain = {"baseline": None, "results_only": [], "seeds": [0]}
    study = tiny.write_study(tmp_path / "study", factors=sizes, include=include, settings=settings, **plain)

    def kill_second(event: dict) -> None:
        if event.get("stage") == "train" and event["step"] == 2 and read_cells(study.folder)[0]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _work(study, kill_second)
    _work(study)
    (run,) = (study.folder / "runs").iterdir()
    assert sorted(json.loads((run / "done.json").read_text())["artifact"]) == ["epoch-1", "epoch-2"]
    assert {cell.artifact_path for cell in read_cells(study.folder)[0].values()} == {
        f"runs/{run.name}/epoch-1",
        f"runs/{run.name}/epoch-2",
    }
    for cell in read_cells(study.folder)[0].values():
        made = artifact_digests(study.folder / cell.artifact_path)
        assert cell.provenance["artifact"] == made, "what is kept later changes no byte of what a cell has already"


def _no_data(folder: Path) -> None:
    (folder / "data" / "colours.jsonl").unlink()


def _empty_data(folder: Path) -> None:
    (folder / "data" / "colours.jsonl").write_bytes(b"")


def _unknown_columns(folder: Path) -> None:
    (folder / "data" / "colours.jsonl").write_text('{"frage": "a", "antwort": "b"}\n')


def _empty_answers(folder: Path) -> None:
    (folder / "data" / "colours.jsonl").write_text('{"prompt": "sky", "completion": ""}\n')


def _nothing(folder: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("damage", "training", "words"),
    [
        (_no_data, {}, ["data/colours.jsonl", "sft prepare"]),
        (_empty_data, {}, ["data/colours.jsonl", "no example"]),
        (_unknown_columns, {}, ["colours.jsonl", "frage"]),
        (_empty_answers, {}, ["completion is empty"]),
        (_nothing, {"template": "Question : {prompt}"}, ["completion"]),
        (_nothing, {"max_length": 8}, ["max_length"]),
        (_nothing, {"max_length": 128}, ["64"]),
        (_nothing, {"learning_rate": 1e38, "max_gradient_norm": 0.0}, ["loss is nan", "lower the learning rate"]),
    ],
    ids=["no-data", "empty-data", "columns", "empty-answers", "template", "too-long", "context", "nan"],
)
def test_bad_input_is_named_and_the_rest_of_the_grid_goes_on(damage, training: dict, words: list[str], tmp_path: Path):
    study = tiny.write_study(tmp_path / "study", **_with_training(**training))
    tasks = study.folder / "tasks" / "colours_test.yaml"
    shutil.copy(study.folder / "data" / "colours.jsonl", study.folder / "test.jsonl")
    tasks.write_text(tasks.read_text().replace("data/colours.jsonl", "test.jsonl"))
    damage(study.folder)
    _work(study)
    (failure,) = Failures(ledger_folder(study.folder)).read_all()
    assert "method=full" in failure.title and not failure.transient and not failure.details, failure
    assert all(word in failure.sentence() for word in words), failure.sentence()
    (cell,) = read_cells(study.folder)[0].values()
    assert cell.levels["method"] == "none", "the untouched base has nothing to do with it and is evaluated"
    assert not list(study.folder.glob("runs/*/done.json"))


def test_base_that_is_not_what_its_name_says_is_refused(tmp_path: Path):
    study = tiny.write_study(tmp_path / "study", **ONE_RUN)
    text = (study.folder / "study.yaml").read_text()
    (study.folder / "study.yaml").write_text(text.replace("license: apache-2.0", f"weights_sha256: {'f' * 64}", 1))
    _work(read_study(study.folder))
    failures = Failures(ledger_folder(study.folder)).read_all()
    assert len(failures) == 2, "neither the run nor the untouched base is what it claims to be"
    assert all("expected weights with sha256 ffff" in failure.what for failure in failures)
    assert not read_cells(study.folder)[0]


def test_base_that_is_changed_between_units_is_noticed(tmp_path: Path):
    study = tiny.write_study(tmp_path / "study", **ONE_RUN)
    worker = Worker(study)
    first = worker.shop.identity("tiny").weights_sha256
    warm = worker.shop.warm("tiny")
    assert worker.shop.warm("tiny") is warm
    tiny.write_base(study.folder / "bases" / "tiny", seed=1)
    assert worker.shop.identity("tiny").weights_sha256 != first and worker.shop.warm("tiny") is not warm
    warm = worker.shop.warm("tiny")
    template = study.folder / "bases" / "tiny" / "chat_template.jinja"
    template.write_text("{{ messages[0].content }}", encoding="utf-8")
    assert worker.shop.warm("tiny") is not warm, "a tokenizer changes without new weights"


def test_memory_that_runs_out_halves_the_rows_and_says_so(tmp_path: Path):
    """In a process that really cannot have more memory: four rows do not fit into it, fewer do."""
    training = {"max_length": 1024, "micro_batch": 4, "batch_size": 4}
    study = tiny.write_study(tmp_path / "study", **_with_training(**training))
    tiny.write_base(study.folder / "bases" / "tiny", context=1024, inner=4096)
    long = {"prompt": "sky " * 1000, "completion": " B", "answer": 1}
    (study.folder / "data" / "colours.jsonl").write_text((json.dumps(long) + "\n") * 4)
    child = multiprocessing.get_context("fork").Process(target=_work_with_little_memory, args=(study,))
    child.start()
    child.join()
    assert child.exitcode == 0
    (run,) = (study.folder / "runs").iterdir()
    done = json.loads((run / "done.json").read_text())
    assert done["micro_batch"]["declared"] == 4 and done["micro_batch"]["used"] in (1, 2)
    identity = json.loads((run / "run.json").read_text())["identity"]
    assert identity["settings"]["micro_batch"] == done["micro_batch"]["used"]
    assert identity["settings"]["batch_size"] == 4, "the effective batch stays"
    cells = [cell for cell in read_cells(study.folder)[0].values() if cell.levels["method"] == "full"]
    assert all(cell.provenance["micro_batch"] == done["micro_batch"] for cell in cells) and len(cells) == 2


def _work_with_little_memory(study: Study) -> None:
    """While it trains, this process may have 370 MB more than it has at the start of training."""
    import torch

    torch.set_num_threads(1)

    def limit(event: dict[str, Any]) -> None:
        if event.get("stage") == "train" and event["step"] == 0:
            has = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
            resource.setrlimit(resource.RLIMIT_AS, (has + (370 << 20), resource.RLIM_INFINITY))
        elif event.get("stage") in ("halve", "evaluate"):
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    _work(study, limit)


@pytest.fixture
def small_disk(tmp_path: Path):
    """Yield a function that sets the size of a real file system; the folder it lies on is ``function.folder``."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "none", folder], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_full_disk_is_recorded_and_the_next_start_goes_on(small_disk: Path):
    study = tiny.write_study(small_disk / "study", **ONE_RUN)
    failures = Failures(ledger_folder(study.folder))
    failures.keep_reserve()
    used = shutil.disk_usage(small_disk)
    (small_disk / "filler").write_bytes(b"\0" * (used.free - (40 << 10)))
    _work(study)
    (failure,) = [one for one in failures.read_all() if "method=full" in one.title]
    assert failure.transient and "disk is full" in failure.what and "free some space" in failure.next_step
    assert not [cell for cell in read_cells(study.folder)[0].values() if cell.levels["method"] == "full"]
    (small_disk / "filler").unlink()
    assert failure.unit in failures.reopen(everything=False)
    _work(study)
    assert len(read_cells(study.folder)[0]) == 3 and not failures.read_all()
