"""A cell of interventions: its files, its cost said beforehand, resuming it, the test that it must pass."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sae.measure.small_study import make_study, train

from release_kit.core import canonical
from release_kit.sae.errors import SaeError
from release_kit.sae.grid.stale import find_all_stale
from release_kit.sae.grid.units import plan_units
from release_kit.sae.intervene.cell import intervene_cell, n_interventions
from release_kit.sae.intervene.run import BASE
from release_kit.sae.measure.cell import measure_cell
from release_kit.sae.measure.write import Recorded, read_recorded
from release_kit.sae.pipeline.paths import INTERVENTION_FILE, INTERVENTIONS, SaeKey, intervention_folder
from release_kit.sae.spec.model import SaeStudy
from release_kit.sae.spec.read import read_study
from release_kit.sae.tables.effects import losses_of

KEY = SaeKey(size="small", step=0, layer=2, seed=1)


def _quiet(stage, i, n):
    """Tell nobody."""


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("measured") / "study"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RELEASE_KIT_CACHE", str(tmp_path_factory.mktemp("digests") / "digests.sqlite"))
        study = make_study(folder)
        train(study)
        for step in (0, 8):
            measure_cell(study, "small", step, report=_quiet)
    return folder


@pytest.fixture(scope="module")
def done(measured: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[SaeStudy, list]:
    study = read_study(Path(shutil.copytree(measured, tmp_path_factory.mktemp("done") / "study")) / "sae.yaml")
    told: list = []
    intervene_cell(study, "small", 0, report=lambda *what: told.append(what))
    return study, told


def _copy(measured: Path, tmp_path: Path) -> SaeStudy:
    return read_study(Path(shutil.copytree(measured, tmp_path / "study")) / "sae.yaml")


def _bytes(study: SaeStudy) -> dict[str, bytes]:
    root = study.folder / INTERVENTIONS
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def _recorded(study: SaeStudy) -> Recorded:
    found = read_recorded(intervention_folder(study.folder, KEY), INTERVENTION_FILE, KEY)
    assert found is not None
    return found


def test_every_intervention_with_its_controls_is_scored_in_both_languages_and_translations(done):
    study, _ = done
    losses = losses_of(_recorded(study).table("losses.parquet"))
    assert losses.keys[0] == BASE and len(losses.keys) == 1 + n_interventions(study, "small", 0) == 1 + (3 * 5 + 1) * 3
    assert set(losses.kinds) == {"en", "ja", "en>ja", "ja>en"} and len(losses.kinds) == 4 * 8


def test_replacing_everything_by_itself_is_tried_and_written_down(done):
    found = _recorded(done[0]).record["identity_test"]
    assert 0 <= found["largest_change"] <= found["bound"] == 1e-4


def test_the_number_of_forward_passes_is_said_before_the_first_and_is_kept(done):
    study, told = done
    total = told[0][2]
    assert told[0] == ("intervene", 0, total) and told[-1] == ("intervene", total, total)
    assert {what[2] for what in told} == {total} and total % (4 * (n_interventions(study, "small", 0) + 3)) == 0


@pytest.mark.parametrize("stop_at", [0, 1, 3])
def test_a_cell_that_was_stopped_goes_on_to_the_same_bytes(done, measured, tmp_path, stop_at):
    class Stopped(Exception):
        """As a worker that is asked to stop."""

    calls = []

    def stop(stage, i, n):
        calls.append(i)
        if len(calls) > stop_at:
            raise Stopped

    study = _copy(measured, tmp_path)
    with pytest.raises(Stopped):
        intervene_cell(study, "small", 0, report=stop)
    intervene_cell(study, "small", 0, report=_quiet)
    assert _bytes(study) == _bytes(done[0])


def test_what_is_done_is_not_done_again(done):
    told = []
    intervene_cell(done[0], "small", 0, report=lambda *what: told.append(what))
    assert told == []


def test_classes_that_were_not_measured_are_asked_for(measured, tmp_path):
    study = _copy(measured, tmp_path)
    shutil.rmtree(study.folder / "measures" / "small" / "step-8")
    with pytest.raises(SaeError, match="not measured"):
        intervene_cell(study, "small", 0, report=_quiet)


def test_the_last_step_is_not_put_into_itself(measured, tmp_path):
    study = _copy(measured, tmp_path)
    text = study.file.read_text()
    study.file.write_text(text.replace("variants: [add, replace, ablate]", "variants: [add, replace]"))
    assert [unit.step for unit in plan_units(read_study(study.file)) if unit.kind == "intervene"] == [0]
    with pytest.raises(SaeError, match="is the last one"):
        intervene_cell(read_study(study.file), "small", 8, report=_quiet)


def test_features_are_taken_out_of_the_last_step_and_nothing_else_is_done_to_it(measured, tmp_path):
    study = _copy(measured, tmp_path)
    assert [unit.step for unit in plan_units(study) if unit.kind == "intervene"] == [0, 8]
    intervene_cell(study, "small", 8, report=_quiet)
    key = replace(KEY, step=8)
    found = read_recorded(intervention_folder(study.folder, key), INTERVENTION_FILE, key)
    losses = losses_of(found.table("losses.parquet"))
    assert {each[0] for each in losses.keys[1:]} == {"ablate"} and len(losses.keys) == 1 + 3 * 5 + 1
    everything = losses.keys.index(("ablate", "all", 0.5, "", 0))
    assert np.abs(losses.nll[everything] - losses.nll[0]).max() > 1e-3
    assert not find_all_stale(study, plan_units(study))


def test_a_model_that_changes_when_everything_is_replaced_by_itself_is_refused(measured, tmp_path, monkeypatch):
    study = _copy(measured, tmp_path)
    monkeypatch.setattr("release_kit.sae.intervene.cell.IDENTITY_BOUND", -1.0)
    with pytest.raises(SaeError, match="replacing all features by themselves changes a loss"):
        intervene_cell(study, "small", 0, report=_quiet)
    assert not (study.folder / INTERVENTIONS).exists()


def test_other_strengths_are_other_interventions(done, tmp_path):
    study = read_study(Path(shutil.copytree(done[0].folder, tmp_path / "study")) / "sae.yaml")
    before = canonical.read_json(intervention_folder(study.folder, KEY) / INTERVENTION_FILE)["identity_digest"]
    text = study.file.read_text(encoding="utf-8").replace("strengths: [0.5]", "strengths: [1.0]")
    study.file.write_text(text, encoding="utf-8")
    intervene_cell(read_study(study.file), "small", 0, report=_quiet)
    assert canonical.read_json(intervention_folder(study.folder, KEY) / INTERVENTION_FILE)["identity_digest"] != before
