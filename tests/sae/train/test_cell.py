"""One model at one step: what is made, what is kept, what interruptions and bad input do."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sae.small_study import made_files
from safetensors.torch import load_file, save_file

from release_kit.core.errors import ReleaseKitError
from release_kit.core.files import exclusive
from release_kit.engine.failures import is_full_disk
from release_kit.sae.activations import collect as collecting
from release_kit.sae.errors import ActivationError, SaeError
from release_kit.sae.pipeline.paths import SaeKey, activations_folder, model_folder, run_folder, sae_folder
from release_kit.sae.pipeline.plan import cell_keys
from release_kit.sae.pipeline.read import find_stale, is_finished, list_finished, read_finished
from release_kit.sae.prepare.series import SERIES_FILE
from release_kit.sae.spec.model import SaeStudy
from release_kit.sae.spec.read import read_study
from release_kit.sae.train import cell as cells
from release_kit.sae.train import room
from release_kit.sae.train.cell import train_cell
from release_kit.sae.train.settings import sae_config, warm_sae

MakeStudy = Callable[..., SaeStudy]
KEY = SaeKey(size="small", step=3, layer=1, seed=0)


def test_all_layers_and_seeds_come_from_one_pass_and_activations_go(
    make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch
):
    study, passes = make_study(), []
    original = collecting.collect
    monkeypatch.setattr(collecting, "collect", lambda *a, **k: passes.append(a[2]) or original(*a, **k))
    train_cell(study, "small", 3)
    assert passes == [(1, 2)]
    assert [one.key for one in list_finished(study)] == list(cell_keys(study, "small", 3))
    assert not activations_folder(study.folder, "small", 3).exists() and not list(study.folder.glob("runs/*"))
    for one in list_finished(study):
        one.check()
        sae = one.load()
        assert (sae.config.d_in, sae.config.n_features, sae.config.k) == (16, 48, 4)
        assert one.record["tokens_seen"] == 1280 and one.record["warm_from"] is None
    assert str(study.folder) not in "".join(str(data) for data in made_files(study.folder).values())


def test_what_is_finished_is_not_touched(make_study: MakeStudy):
    study = make_study()
    train_cell(study, "small", 3, select={"seed": (0,)})
    times = {path: path.stat().st_mtime_ns for path in study.folder.rglob("saes/**/*") if path.is_file()}
    assert len(times) == 8
    train_cell(study, "small", 3)
    assert len(list_finished(study)) == 4
    assert {path: path.stat().st_mtime_ns for path in times} == times


class Stop(Exception):
    """Raised by a report."""


@pytest.mark.parametrize(
    "settings",
    [
        {"cache": "disk", "warm_start": "previous-step"},
        {"cache": "stream", "normalise": "rms"},
        {"architecture": "batchtopk", "normalise": "rms", "warm_start": "previous-step"},
    ],
    ids=["disk", "stream", "warm-rms"],
)
def test_stopped_at_any_report_it_goes_on_to_the_same_bytes(settings: dict[str, str], make_study: MakeStudy):
    whole, cut = make_study("whole", **settings), make_study("cut", **settings)
    for step in (0, 3):
        train_cell(whole, "small", step)
    wanted = made_files(whole.folder)
    n_stops = 0
    for step in (0, 3):
        for patience in (0, 1, 2, 4, 7, 12, 18, 25, 33, 200):
            left = [patience]

            def report(stage: str, i: int, n: int, left: list[int] = left) -> None:
                left[0] -= 1
                if left[0] < 0:
                    raise Stop

            try:
                train_cell(cut, "small", step, report=report)
                break
            except Stop:
                n_stops += 1
    assert n_stops > 8 and made_files(cut.folder) == wanted and len(wanted) == 32


def test_seeds_and_layers_are_different_autoencoders(make_study: MakeStudy):
    study = make_study()
    train_cell(study, "small", 3)
    weights = {data for path, data in made_files(study.folder).items() if path.endswith(".safetensors")}
    assert len(weights) == 4


def test_other_settings_never_go_on_from_a_state_nor_keep_a_result(make_study: MakeStudy):
    study = make_study()

    def stop(stage: str, i: int, n: int) -> None:
        if stage == "layer-2/seed-0" and i == 12:
            raise Stop

    with pytest.raises(Stop):
        train_cell(study, "small", 3, report=stop)
    assert (run_folder(study.folder, SaeKey(size="small", step=3, layer=2, seed=0)) / "state.safetensors").is_file()
    study.file.write_text(study.file.read_text().replace("warmup_steps: 3", "warmup_steps: 9"))
    changed = read_study(study.file)
    with pytest.raises(SaeError, match=r"small, step 3, layer 1, seed 0.*training.warmup_steps 3 → 9.*--redo-stale"):
        train_cell(changed, "small", 3)
    assert [one.sentence() for one in find_stale(changed)] == [
        f"small, step 3, layer 1, seed {seed}: training.warmup_steps 3 → 9" for seed in (0, 1)
    ]
    fresh = make_study("fresh")
    fresh.file.write_text(study.file.read_text())
    for one in (changed, read_study(fresh.file)):
        train_cell(one, "small", 3, select={"layer": (2,)})
    name = "saes/small/step-3/layer-2/seed-0/sae_weights.safetensors"
    assert (study.folder / name).read_bytes() == (fresh.folder / name).read_bytes()


def test_a_damaged_autoencoder_is_made_again(make_study: MakeStudy):
    study = make_study()
    train_cell(study, "small", 3)
    before = made_files(study.folder)
    weights = sae_folder(study.folder, KEY) / "sae_weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x55")
    with pytest.raises(SaeError, match=r"sae_weights.safetensors is damaged"):
        read_finished(study.folder, KEY).load()
    weights.unlink()
    assert not is_finished(study.folder, KEY)
    train_cell(study, "small", 3)
    assert made_files(study.folder) == before


def test_a_shard_damaged_while_training_goes_on_is_made_again(make_study: MakeStudy):
    whole, study = make_study("whole"), make_study()
    train_cell(whole, "small", 3)
    flipped = []

    def damage(stage: str, i: int, n: int) -> None:
        if stage == "layer-1/seed-1" and i == n:
            (shard,) = study.folder.glob("activations/small/step-3/*/layer-02/shard-*.safetensors")
            data = bytearray(shard.read_bytes())
            data[-1] ^= 1
            shard.write_bytes(data)
            flipped.append(shard)

    train_cell(study, "small", 3, report=damage)
    assert flipped and made_files(study.folder) == made_files(whole.folder)


def test_values_that_are_no_numbers_are_named_and_nothing_is_kept(make_study: MakeStudy):
    study = make_study()
    path = model_folder(study.folder, "small", 3) / "model.safetensors"
    (path.parent.parent / SERIES_FILE).unlink()
    tensors = load_file(path)
    tensors["model.layers.1.mlp.down_proj.weight"][0, 0] = torch.nan
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(ActivationError, match=r"size small, step 3: .*layer 2: an activation is no number"):
        train_cell(study, "small", 3)
    assert not list_finished(study)


def test_a_missing_checkpoint_is_named(make_study: MakeStudy):
    study = make_study()
    for path in model_folder(study.folder, "small", 3).iterdir():
        path.unlink()
    with pytest.raises(SaeError, match=r"size small, step 3: .*the checkpoint is missing .*checkpoint.json: No such"):
        train_cell(study, "small", 3)


def test_memory_that_runs_out_is_a_sentence_and_the_next_call_goes_on(
    make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch
):
    whole, study = make_study("whole"), make_study()
    train_cell(whole, "small", 3)

    def report(stage: str, i: int, n: int) -> None:
        if stage == "layer-2/seed-1" and i == 7:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    with pytest.raises(SaeError, match=r"size small, step 3: layer 2, seed 1: memory ran out — lower training.batch"):
        train_cell(study, "small", 3, report=report)
    train_cell(study, "small", 3)
    assert made_files(study.folder) == made_files(whole.folder)


def test_a_full_disk_is_known_as_one_and_the_next_call_goes_on(make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch):
    whole, study = make_study("whole"), make_study()
    train_cell(whole, "small", 3)
    real, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 9:
            raise OSError(28, "No space left on device")
        real(descriptor)

    with monkeypatch.context() as patch, pytest.raises(ReleaseKitError) as caught:
        patch.setattr(os, "fsync", full)
        train_cell(study, "small", 3)
    assert is_full_disk(caught.value) and "free some space" in str(caught.value)
    train_cell(study, "small", 3)
    assert made_files(study.folder) == made_files(whole.folder)


def test_activations_beyond_the_bound_are_refused_with_what_to_change(make_study: MakeStudy):
    study = make_study()
    study.file.write_text(study.file.read_text().replace("kind: disk", "kind: disk, max_gb: 0.00001"))
    with pytest.raises(ActivationError, match=r"size small, step 3.*raise cache.max_gb to .*or write cache"):
        train_cell(read_study(study.file), "small", 3)


def test_room_is_taken_from_the_dead_and_waited_for_from_the_living(tmp_path: Path):
    root = tmp_path / "activations"
    dead, live, own = (root / "small" / f"step-{step}" for step in (1, 2, 3))
    for home in (dead, live):
        with room.room_for(home, root, 500, 1e-6, lambda: pytest.fail("there is room")):
            (home / "set").write_bytes(b"x" * 300)
    looks = []

    def look() -> None:
        looks.append(dead.exists())
        if len(looks) == 2:
            room.release(live)

    with exclusive(live, "cell"), room.room_for(own, root, 600, 1e-6, look):
        assert looks == [False, False] and not dead.exists() and not live.exists()


def test_a_warm_start_computes_what_the_step_before_computed(make_study: MakeStudy):
    study = make_study(normalise="rms", warm_start="previous-step")
    train_cell(study, "small", 0)
    before = read_finished(study.folder, SaeKey(size="small", step=0, layer=1, seed=0))
    scale = before.record["config"]["rms_scale"]
    warm = warm_sae(before, sae_config(study, 16, scale**-2))
    x = torch.randn(50, 16, generator=torch.Generator().manual_seed(0)) / scale
    old = before.load()
    torch.testing.assert_close(warm.decode(warm.encode(x)), old.decode(old.encode(x)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(warm.w_dec.norm(dim=1), torch.ones(48))


def test_a_warm_start_says_where_it_came_from_and_needs_the_step_before(make_study: MakeStudy):
    study = make_study(warm_start="previous-step")
    with pytest.raises(SaeError, match=r"step-0.*not finished"):
        train_cell(study, "small", 3)
    for step in (0, 3):
        train_cell(study, "small", step)
    before = read_finished(study.folder, SaeKey(size="small", step=0, layer=1, seed=0))
    assert read_finished(study.folder, KEY).record["warm_from"] == before.identity_digest
    assert cells.STREAM_SEED == 0
