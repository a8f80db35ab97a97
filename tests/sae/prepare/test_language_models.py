"""Models learn both languages, every kept step is a folder of transformers, and a stop changes no byte."""

import json
import math
from dataclasses import replace
from pathlib import Path

import killing
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from release_kit.core.canonical import parse_json
from release_kit.core.records import Fields
from release_kit.sae.errors import SaeError
from release_kit.sae.prepare.documents import texts_of, training_documents, translation_document
from release_kit.sae.prepare.language_models import train_language_model
from release_kit.sae.prepare.pairs import Pair, SplitPairs
from release_kit.sae.prepare.recipes import DEMO_RECIPE, TINY_RECIPE, LmRecipe, LmSize, log_spaced
from release_kit.sae.prepare.rows import rows_of_step
from release_kit.sae.prepare.series import LmSeries, describe, file_sha256, read_series

SHORT = replace(TINY_RECIPE, keep=(0, 2, 6), sizes=(LmSize(name="mini", hidden_size=16, n_layers=1, n_heads=2),))


def digests(home: Path) -> dict[str, str]:
    files = (path for path in home.rglob("*") if path.is_file() and ".release_kit" not in path.parts)
    return {path.relative_to(home).as_posix(): file_sha256(path) for path in files}


def test_loss_falls_in_both_languages_from_that_of_chance(small_series: LmSeries):
    first, *_, last = small_series.checkpoints
    assert [each.step for each in small_series.checkpoints] == [0, 4, 16, 64]
    for language in ("en", "ja"):
        assert first.dev_nll[language] == pytest.approx(math.log(600), abs=0.15)
        losses = [each.dev_nll[language] for each in small_series.checkpoints]
        assert losses == sorted(losses, reverse=True) and last.dev_nll[language] < 3


def test_every_checkpoint_is_a_folder_of_transformers_with_the_loss_that_it_says(
    small_series: LmSeries, bilingual_pairs: SplitPairs
):
    for each in small_series.checkpoints:
        model = AutoModelForCausalLM.from_pretrained(each.folder)
        tokenizer = AutoTokenizer.from_pretrained(each.folder)
        total = n = 0
        for pair in bilingual_pairs.held_out:
            piece = tokenizer(pair.ja, add_special_tokens=False)["input_ids"]
            ids = torch.tensor([[tokenizer.bos_token_id, *piece, tokenizer.eos_token_id]])
            with torch.no_grad():
                total += float(model(input_ids=ids, labels=ids).loss) * (len(ids[0]) - 1)
            n += len(ids[0]) - 1
        assert total / n == pytest.approx(each.dev_nll["ja"], abs=2e-5)


def test_finished_series_is_instant_and_what_was_damaged_is_named(
    small_series: LmSeries, bilingual_pairs: SplitPairs, models_folder: Path, tmp_path: Path
):
    def no_step(*_: object) -> None:
        pytest.fail("it was trained again")

    train, dev = bilingual_pairs.train, bilingual_pairs.held_out
    assert train_language_model(TINY_RECIPE, "small", train, dev, models_folder, no_step) == small_series
    with pytest.raises(SaeError, match="models of another recipe, text or library lie here"):
        train_language_model(replace(TINY_RECIPE, seed=1), "small", train, dev, models_folder)
    made = train_language_model(SHORT, "mini", train, dev, tmp_path)
    weights = made.checkpoints[1].folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(SaeError, match=r"step-2: the checkpoint is missing or damaged \(model\.safetensors\)"):
        read_series(made.folder)
    (made.folder / "series.json").unlink()
    repaired = train_language_model(SHORT, "mini", train, dev, tmp_path)
    assert repaired == made == read_series(made.folder)


def test_killed_training_goes_on_to_the_same_bytes(bilingual_pairs: SplitPairs, tmp_path: Path):
    train, dev = bilingual_pairs.train[:60], bilingual_pairs.held_out[:5]

    def training(folder: Path):
        return lambda: train_language_model(SHORT, "mini", train, dev, folder, state_every=1)

    training(tmp_path / "whole")()
    whole = digests(tmp_path / "whole" / "mini")
    _, n_points = killing.run_child(training(tmp_path / "counted"))
    for number, point in enumerate(np.linspace(5, n_points - 2, 7).astype(int).tolist()):
        folder = tmp_path / f"killed-{number}"
        assert killing.run_child(training(folder), kill_at=point)[0] == "killed"
        training(folder)()
        assert digests(folder / "mini") == whole


def test_work_before_a_stop_is_not_done_again(bilingual_pairs: SplitPairs, tmp_path: Path):
    steps: list[int] = []

    def stop(size: str, step: int, loss: float) -> None:
        steps.append(step)
        if step == 4 and steps.count(4) == 1:
            raise KeyboardInterrupt

    arguments = (SHORT, "mini", bilingual_pairs.train, bilingual_pairs.held_out, tmp_path, stop)
    with pytest.raises(KeyboardInterrupt):
        train_language_model(*arguments, state_every=2)
    train_language_model(*arguments, state_every=2)
    assert steps == [1, 2, 3, 4, 5, 6]


def test_number_of_threads_of_the_process_changes_no_byte(bilingual_pairs: SplitPairs, tmp_path: Path):
    before, made = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            torch.manual_seed(threads)
            train_language_model(
                SHORT, "mini", bilingual_pairs.train, bilingual_pairs.held_out, tmp_path / str(threads)
            )
            assert torch.get_num_threads() == threads
            made.append(digests(tmp_path / str(threads)))
    finally:
        torch.set_num_threads(before)
    assert made[0] == made[1]


def test_sizes_share_tokenizer_and_text(small_series: LmSeries, large_series: LmSeries):
    small, large = (series.checkpoints[-1].folder for series in (small_series, large_series))
    assert file_sha256(small / "tokenizer.json") == file_sha256(large / "tokenizer.json")
    assert large_series.n_parameters > 2 * small_series.n_parameters
    assert describe(large_series).count("\n") == 3 and '"ja"' in describe(large_series)


def test_each_pair_gives_a_document_of_every_kind():
    pairs = [Pair(id=str(i), en=f"Number {i}", ja=f"番{i}") for i in range(50)]
    documents = training_documents(pairs, 3)
    both = [document for document in documents if "\n" in document]
    assert len(documents) == 150 and len(both) == 50 and documents != training_documents(pairs, 4)
    assert 10 < sum(document.startswith("Number") for document in both) < 40
    assert {"Number 7", "番7"} < set(documents)
    assert translation_document(pairs[7], "ja") == "番7\nNumber 7"
    assert [text.id for text in texts_of(pairs[:1])] == ["0-en", "0-ja"]


def test_rows_come_once_a_pass_in_another_order_each():
    rows = np.arange(10, dtype=np.int32)[:, None]
    recipe = replace(TINY_RECIPE, batch_rows=4)
    seen = np.concatenate([rows_of_step(rows, recipe, step)[:, 0] for step in range(5)])
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10)) and seen[:10].tolist() != seen[10:].tolist()


def test_recipe_survives_its_json_form_and_refuses_contradictions():
    for recipe in (DEMO_RECIPE, TINY_RECIPE):
        data = parse_json(json.dumps(recipe.to_dict()), "recipe")
        assert LmRecipe.from_fields(Fields(data, "recipe")) == recipe
    with pytest.raises(SaeError, match="not a multiple of twice 3 heads"):
        LmSize(name="odd", hidden_size=32, n_layers=1, n_heads=3)
    with pytest.raises(SaeError, match=r"the steps \[4, 0\] are not ascending"):
        replace(TINY_RECIPE, keep=(4, 0))
    with pytest.raises(SaeError, match=r"there is no size 'huge'; there are \['small', 'large'\]"):
        TINY_RECIPE.size("huge")


def test_log_spaced_steps_begin_at_zero_and_end_at_the_last():
    assert log_spaced(512, 8) == (0, 8, 16, 32, 64, 128, 256, 512)
    assert log_spaced(3, 9) == (0, 1, 2, 3)


def test_loss_that_is_no_number_stops_training_with_its_step(bilingual_pairs: SplitPairs, tmp_path: Path):
    wild = replace(SHORT, learning_rate=1e30)
    with pytest.raises(SaeError, match=r"size mini: the loss is (nan|inf) at step \d"):
        train_language_model(wild, "mini", bilingual_pairs.train, bilingual_pairs.held_out, tmp_path)
    with pytest.raises(SaeError, match="there is too little text for one row"):
        train_language_model(
            SHORT, "mini", [Pair(id="1", en="a", ja="水")], bilingual_pairs.held_out, tmp_path / "less"
        )
