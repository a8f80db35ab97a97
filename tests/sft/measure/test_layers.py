"""The table of layer changes: complete, resumable, the same bytes always, and nothing that failed in it."""

import json
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from release_kit.core.cell import read_cells
from release_kit.core.grid import iter_levels
from release_kit.core.study import Study
from release_kit.sft.measure.changes import Base, measure_changes
from release_kit.sft.measure.layers import LAYERS_FILE, layers_schema, measure_layers, update_layers

from .conftest import make_cells, record, write_perturbed

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def _only(**wanted):
    return lambda levels: all(levels[name] in values for name, values in wanted.items())


def _rows(study: Study) -> list[dict]:
    return pq.ParquetFile(study.folder / LAYERS_FILE).read().to_pylist()


def _weights(study: Study, cell_id: str) -> Path:
    cells, _ = read_cells(study.folder)
    return study.folder / cells[cell_id].artifact_path / "model.safetensors"


def test_every_trained_cell_has_every_tensor(trained_study: Study):
    path = measure_layers(trained_study)
    assert path == trained_study.folder / LAYERS_FILE
    assert pq.read_schema(path).equals(layers_schema())
    rows = _rows(trained_study)
    cells, _ = read_cells(trained_study.folder)
    n_tensors = {"tiny-a": 29, "tiny-b": 20}
    assert len(rows) == sum(n_tensors[cell.levels["base_model"]] for cell in cells.values())
    assert [(r["cell_id"], -1 if r["layer"] is None else r["layer"], r["tensor"]) for r in rows] == sorted(
        (r["cell_id"], -1 if r["layer"] is None else r["layer"], r["tensor"]) for r in rows
    )
    assert {r["depth"] for r in rows} == {None, 0.0, 0.5, 1.0}
    assert all(r["cosine"] is not None for r in rows)


def test_interrupted_measurement_continues_and_ends_with_the_same_bytes(trained_study: Study):
    update_layers(trained_study)
    whole = (trained_study.folder / LAYERS_FILE).read_bytes()
    shutil.rmtree(trained_study.folder / "tables")
    shutil.rmtree(trained_study.folder / ".release_kit")

    def stop_after_five(event) -> None:
        if event.n_done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        update_layers(trained_study, stop_after_five)
    assert not (trained_study.folder / LAYERS_FILE).exists()
    events = []
    report = update_layers(trained_study, events.append)
    assert (report.n_remembered, report.n_computed) == (5, 7)
    assert sum(event.remembered for event in events) == 5
    assert (trained_study.folder / LAYERS_FILE).read_bytes() == whole
    again = update_layers(trained_study)
    assert (again.n_computed, again.changed) == (0, False)


def test_only_a_cell_whose_weights_changed_is_measured_again(measured_study: Study):
    make_cells(measured_study, _only(method=["full"]))
    update_layers(measured_study)
    before = {row["cell_id"]: row["weights_sha256"] for row in _rows(measured_study)}
    levels = next(levels for levels in iter_levels(measured_study) if levels["method"] == "full")
    run = "runs/remade/final"
    write_perturbed(measured_study.folder / "bases" / levels["base_model"], measured_study.folder / run, seed=99)
    changed = json.loads(record(measured_study, levels, run).read_text())["cell_id"]
    report = update_layers(measured_study)
    after = {row["cell_id"]: row["weights_sha256"] for row in _rows(measured_study)}
    assert report.n_computed == 1
    assert {cell_id for cell_id in before if before[cell_id] != after[cell_id]} == {changed}


def test_damaged_cells_are_named_and_the_others_measured(measured_study: Study):
    make_cells(measured_study, _only(method=["full"], base_model=["tiny-a"]))
    broken, gone, fine = sorted(read_cells(measured_study.folder)[0])
    data = _weights(measured_study, broken).read_bytes()
    _weights(measured_study, broken).write_bytes(data[:-2] + b"\x80\x7f")
    _weights(measured_study, gone).unlink()
    report = update_layers(measured_study)
    assert {row["cell_id"] for row in _rows(measured_study)} == {fine}
    messages = sorted(map(str, report.problems))
    assert len(messages) == 2
    assert any(broken in text and "is not what cell.json recorded" in text for text in messages)
    assert any(gone in text and "holds no safetensors weights" in text for text in messages)


def test_cell_of_another_base_is_refused(measured_study: Study):
    make_cells(measured_study, _only(method=["full"], dataset=["sums"]))
    cells, _ = read_cells(measured_study.folder)
    cell_id = next(i for i, c in cells.items() if c.levels["base_model"] == "tiny-a")
    path = measured_study.folder / "cells" / cell_id / "cell.json"
    value = json.loads(path.read_text())
    value["provenance"]["base_model"]["digest"] = "0" * 64
    path.write_text(json.dumps(value))
    report = update_layers(measured_study)
    assert [cell_id in str(p) and "other weights of its base" in str(p) for p in report.problems] == [True]
    assert cell_id not in {row["cell_id"] for row in _rows(measured_study)}


@pytest.mark.parametrize(("ranks", "n_tensors_held"), [("none", 1), ("all", 3)])
def test_memory_does_not_grow_with_the_model(tmp_path: Path, ranks: str, n_tensors_held: int):
    """Without ranks less than one tensor is held, with them the float32 change of one, which is two of float16."""
    shape, n_tensors = (8192, 256), 3
    _write_large(tmp_path / "base", shape, n_tensors, seed=0)
    _write_large(tmp_path / "model", shape, n_tensors, seed=1)
    with Base(tmp_path / "base") as base:
        tracemalloc.start()
        changes = measure_changes(base, tmp_path / "model", ranks=ranks)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert len(changes) == n_tensors
    assert (changes[0].effective_rank is not None) == (ranks == "all")
    assert peak < n_tensors_held * 2 * shape[0] * shape[1]


def _write_large(folder: Path, shape: tuple[int, int], n_tensors: int, seed: int) -> None:
    from safetensors.numpy import save_file

    rng = np.random.default_rng(seed)
    folder.mkdir()
    tensors = {f"model.layers.{i}.mlp.up_proj.weight": rng.random(shape, np.float32) for i in range(n_tensors)}
    save_file({name: t.astype(np.float16) for name, t in tensors.items()}, folder / "model.safetensors")


def test_other_choice_of_ranks_does_not_cost_what_was_measured(measured_study: Study):
    make_cells(measured_study, _only(method=["full"], dataset=["sums"]))
    assert update_layers(measured_study, ranks="all").n_computed == 2
    with_ranks = (measured_study.folder / LAYERS_FILE).read_bytes()
    assert update_layers(measured_study, ranks="none").n_computed == 2
    assert {row["stable_rank"] for row in _rows(measured_study)} == {None}
    assert update_layers(measured_study, ranks="all").n_computed == 0
    assert (measured_study.folder / LAYERS_FILE).read_bytes() == with_ranks
