"""Stored activations are the model's own, truly shuffled, bounded, resumable, and never those of something else."""

import json
import resource
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import killing
import numpy as np
import pytest
import torch
from scipy import stats

from release_kit.core.errors import ReleaseKitError
from release_kit.engine.failures import failure_of
from release_kit.sae.activations.collect import collect
from release_kit.sae.activations.shards import shard_path
from release_kit.sae.activations.store import ActivationStore, read_store, stored
from release_kit.sae.activations.take import take
from release_kit.sae.activations.tokens import Text, TokenBatches, tokenise
from release_kit.sae.errors import ActivationError, NoRoomError
from release_kit.sae.models.hooks import replaced
from release_kit.sae.models.load import LanguageModel, open_model
from release_kit.sae.prepare.series import LmSeries

LAYERS = (1, 2)
SIZES = {"batch_tokens": 512, "shard_bytes": 12_000, "buffer_bytes": 40_000}


@pytest.fixture
def collected(tiny_lm: LanguageModel, held_out_tokens: TokenBatches, tmp_path: Path) -> Callable[..., ActivationStore]:
    """Return a function that collects into ``tmp_path/activations``; what is asked for can be changed."""

    def make(**changes) -> ActivationStore:
        asked = {"lm": tiny_lm, "tokens": held_out_tokens, "layers": LAYERS, "folder": tmp_path / "activations",
                 "dtype": "float32", **SIZES, **changes}  # fmt: skip
        return collect(**asked)

    return make


def all_of(store: ActivationStore, layer: int, **how) -> tuple[torch.Tensor, torch.Tensor]:
    parts = list(store.batches(layer, 100, **{"seed": 0, **how}))
    return torch.cat([x for x, _ in parts]), torch.cat([index for _, index in parts])


def test_every_token_comes_once_with_the_models_own_activation(
    collected: Callable, tiny_lm: LanguageModel, held_out_tokens: TokenBatches
):
    store = collected()
    assert len(store.starts) > 10
    expected = torch.empty(held_out_tokens.n_tokens, 32)
    for layer in LAYERS:
        for batch in held_out_tokens.batches(SIZES["batch_tokens"]):
            expected[batch.index[batch.kept()]] = take(tiny_lm, held_out_tokens, batch, [layer])[layer]
        x, index = all_of(store, layer)
        assert torch.equal(index.sort().values, torch.arange(held_out_tokens.n_tokens))
        assert torch.equal(x, expected[index])
        assert store.mean_square[layer] == pytest.approx(float(expected.double().square().mean()), rel=1e-12)


def test_half_precision_is_the_rounded_activation(collected: Callable):
    full, half = all_of(collected(), 2), all_of(collected(dtype="bfloat16"), 2)
    full, half = full[0][full[1].argsort()], half[0][half[1].argsort()]
    assert half.dtype == torch.float32 and torch.equal(half, full.bfloat16().float())


@pytest.mark.parametrize("seed", range(3))
def test_batches_mix_tokens_of_all_texts(collected: Callable, held_out_tokens: TokenBatches, seed: int):
    """Where a token comes says nothing of its number or language; neighbours in a text are no neighbours here."""
    _, index = all_of(collected(), 1, seed=seed)
    place = index.argsort().numpy()
    assert abs(stats.spearmanr(np.arange(len(place)), place).statistic) < 4 / np.sqrt(len(place))
    beside = np.abs(np.diff(place)) == 1
    assert beside.mean() < 5 * 2 / len(place) + 0.005
    thirds = Counter(
        zip(held_out_tokens.language[index].tolist(), np.arange(len(place)) * 3 // len(place), strict=True)
    )
    table = np.array([[thirds[language, third] for third in range(3)] for language in (1, 2)])
    assert stats.chi2_contingency(table).pvalue > 1e-3


def test_orders_differ_between_passes_and_seeds_and_repeat(collected: Callable):
    store = collected()
    n = store.n_tokens
    _, twice = all_of(store, 1, passes=2)
    _, other = all_of(store, 1, seed=1)
    _, again = all_of(store, 1)
    assert torch.equal(twice[:n], again) and torch.equal(twice[n:].sort().values, torch.arange(n))
    assert not torch.equal(twice[n:], again) and not torch.equal(other, again)


@pytest.mark.parametrize("start", [0, 1, 7, 30, 31, 45, 10_000])
def test_reading_goes_on_at_any_batch_to_the_bit(collected: Callable, start: int):
    store = collected()
    whole = list(store.batches(1, 64, 5, passes=3))
    rest = list(store.batches(1, 64, 5, start=start, passes=3))
    assert len(rest) == max(0, len(whole) - start)
    for (x, index), (expected, numbers) in zip(rest, whole[start:], strict=True):
        assert torch.equal(x, expected) and torch.equal(index, numbers)


def test_layers_are_read_together_with_the_same_tokens(collected: Callable):
    store = collected()
    for (rows, index), (one, first), (two, _) in zip(
        store.joint(LAYERS, 128, 3), store.batches(1, 128, 3), store.batches(2, 128, 3), strict=True
    ):
        assert torch.equal(index, first) and torch.equal(rows[1], one) and torch.equal(rows[2], two)


def test_every_byte_is_written_once_and_a_second_call_makes_nothing(
    collected: Callable, tiny_lm: LanguageModel, held_out_tokens: TokenBatches
):
    store = collected()
    files = {path: path.stat().st_mtime_ns for path in store.folder.rglob("*.safetensors")}
    values = held_out_tokens.n_tokens * 32 * 4 * len(LAYERS)
    assert sum(path.stat().st_size for path in files if path.parent != store.folder) < values * 1.05
    again = collected(progress=lambda *_: pytest.fail("the model was asked again"))
    assert again.key == store.key and again.remade == ()
    assert {path: path.stat().st_mtime_ns for path in store.folder.rglob("*.safetensors")} == files


def test_nothing_of_another_model_text_layer_or_type_is_ever_taken(
    collected: Callable, small_series: LmSeries, tiny_lm: LanguageModel, held_out_tokens: TokenBatches
):
    fewer = tokenise(held_out_tokens.texts[:50], tiny_lm.tokenizer, 32)
    keys = [
        collected().key,
        collected(lm=open_model(small_series.folder, "step-16")).key,
        collected(tokens=fewer).key,
        collected(layers=(1,)).key,
        collected(dtype="bfloat16").key,
        collected(seed=1).key,
    ]
    assert len(set(keys)) == len(keys)


def test_record_of_another_key_is_refused(collected: Callable):
    store = collected()
    with pytest.raises(ActivationError, match="holds activations of something else"):
        read_store(store.folder, "0" * 32)
    (store.folder / "activations.json").write_text("{}")
    with pytest.raises(ActivationError, match="the record of these activations is damaged"):
        read_store(store.folder)


def test_damaged_shard_is_named_and_made_again_alone(collected: Callable):
    store = collected()
    before = {path: path.read_bytes() for path in store.folder.rglob("*.safetensors")}
    broken = shard_path(store.folder, 2, 3)
    data = bytearray(before[broken])
    data[-5] ^= 1
    broken.write_bytes(data)
    with pytest.raises(ActivationError, match=r"layer-02/shard-0003\.safetensors: the shard is damaged"):
        list(store.batches(2, 100, 0))
    assert len(list(store.batches(1, 100, 0))) > 1
    shard_path(store.folder, 1, 0).unlink()
    touched = {path: path.stat().st_mtime_ns for path in before if path.exists()}
    repaired = collected()
    assert repaired.remade == ("layer-01/shard-0000.safetensors", "layer-02/shard-0003.safetensors")
    assert {path: path.read_bytes() for path in store.folder.rglob("*.safetensors")} == before
    assert [path for path, at in touched.items() if path.stat().st_mtime_ns != at] == [broken]


def test_killed_collection_goes_on_to_the_same_bytes(collected: Callable, tmp_path: Path):
    store = collected(folder=tmp_path / "whole")
    whole = {path.relative_to(store.folder): path.read_bytes() for path in files_of(store.folder)}
    _, n_points = killing.run_child(lambda: collected(folder=tmp_path / "counted"))
    assert n_points > 100
    for number, point in enumerate(np.linspace(2, n_points - 1, 11).astype(int).tolist()):
        folder = tmp_path / f"killed-{number}"
        assert killing.run_child(lambda folder=folder: collected(folder=folder), kill_at=point)[0] == "killed"
        killing.run_child(lambda folder=folder: collected(folder=folder), kill_at=max(2, point // 3))
        home = collected(folder=folder).folder
        assert {path.relative_to(home): path.read_bytes() for path in files_of(home)} == whole


def test_work_before_a_stop_is_not_done_again(collected: Callable, held_out_tokens: TokenBatches):
    def stop(done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collected(progress=stop)
    told: list[int] = []
    collected(progress=lambda done, total: told.append(done))
    assert told[0] > held_out_tokens.n_tokens / 3 and told[-1] == held_out_tokens.n_tokens


def test_growing_shards_that_lost_bytes_are_begun_anew(collected: Callable, tmp_path: Path):
    expected = all_of(collected(folder=tmp_path / "whole"), 1)

    def stop(done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collected(progress=stop)
    grown = next(path for path in (tmp_path / "activations").rglob(".rk-tmp-shard*"))
    grown.write_bytes(grown.read_bytes()[:100])
    found = all_of(collected(), 1)
    assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])


def test_disk_that_fills_up_is_named_and_the_pass_goes_on_later(collected: Callable, tmp_path: Path):
    expected = all_of(collected(folder=tmp_path / "whole"), 1)

    def with_small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, 9_000))
        with pytest.raises(ReleaseKitError, match=r"shard-\d+\.safetensors: cannot be written \(File too large\)"):
            collected()

    assert killing.run_child(with_small_files)[0] == "done"
    found = all_of(collected(), 1)
    assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])


def test_what_does_not_fit_is_refused_with_what_would(
    collected: Callable, held_out_tokens: TokenBatches, tmp_path: Path
):
    n = held_out_tokens.n_tokens
    with pytest.raises(ActivationError) as caught:
        collected(max_bytes=n * 128 + 77)
    said = str(caught.value)
    assert f"need {n * 256:,} bytes, max_bytes leaves {n * 128 + 77:,}" in said
    assert f"it holds {n // 2:,} tokens at 2 layers, or 1 layer of all tokens, or half of it as bfloat16" in said
    assert not list((tmp_path / "activations").rglob("*.safetensors"))
    bound = n * 256 + 100_000
    first = collected(max_bytes=bound)
    with pytest.raises(ActivationError, match=r"other sets take [\d,]+ bytes"):
        collected(max_bytes=bound, seed=1)
    first.remove()
    assert sum(stored(tmp_path / "activations").values()) < 10_000
    assert collected(max_bytes=bound, seed=1).n_tokens == n


def test_a_disk_without_the_room_is_a_cause_that_may_be_gone_at_the_next_try(
    collected: Callable, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch, pytest.raises(NoRoomError, match="the disk has 5,000") as caught:
        patch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=5_000))
        collected()
    assert failure_of(caught.value, unit="train-small-3", title="small, step 3", cells=()).transient
    collected()


def test_values_that_are_no_numbers_are_refused_with_text_and_layer(
    collected: Callable, tiny_lm: LanguageModel, held_out_tokens: TokenBatches
):
    def spoil(h: torch.Tensor) -> torch.Tensor:
        h = h.clone()
        h[0, 3, 5] = float("inf")
        return h

    first = held_out_tokens.texts[
        int(held_out_tokens.document[held_out_tokens.row_starts[held_out_tokens.rows_by_length()[0]]])
    ]
    said = rf"layer 2: an activation is no number \(token 2 of the text '{first.id}'\)"
    with replaced(tiny_lm, 2, spoil), pytest.raises(ActivationError, match=said):
        collected()
    assert collected().n_tokens == held_out_tokens.n_tokens


def test_unknown_layer_type_and_foreign_tokens_are_refused(
    collected: Callable, tiny_lm: LanguageModel, held_out_tokens: TokenBatches
):
    with pytest.raises(ActivationError, match="there is no layer 3: its layers are 0 to 2"):
        collected(layers=(1, 3))
    with pytest.raises(ActivationError, match="'float16' is not one of"):
        collected(dtype="float16")
    with pytest.raises(ActivationError, match="the token id 600 is beyond the 600 embeddings"):
        collected(
            tokens=replace(held_out_tokens, ids=np.where(held_out_tokens.position == 0, 600, held_out_tokens.ids))
        )
    long = tokenise([Text(id="x", language="en", text="fish " * 400)], tiny_lm.tokenizer, 300)
    with pytest.raises(
        ActivationError, match=r"a row has 300 tokens, the model 128 positions — tokenise with a context"
    ):
        collected(tokens=long)
    with pytest.raises(ActivationError, match=r"there is no layer 0; there are \[1, 2\]"):
        collected().batches(0, 10, 0).__next__()


def test_record_says_what_decides_the_values(
    collected: Callable, tiny_lm: LanguageModel, held_out_tokens: TokenBatches
):
    store = collected()
    identity = json.loads((store.folder / "activations.json").read_text())["identity"]
    assert identity["model"] == tiny_lm.digest and identity["tokens"] == held_out_tokens.digest()
    assert store.folder.name == store.key


def files_of(home: Path) -> list[Path]:
    return sorted(path for path in home.rglob("*") if path.is_file() and ".release_kit" not in path.parts)
