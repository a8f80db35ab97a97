"""Keys, steps, units and texts of a study: what is planned, in which order, and what needs what."""

from pathlib import Path

import pytest
from sae.small_study import write_study

from release_kit.engine.pull import Order
from release_kit.sae.errors import SaeError
from release_kit.sae.grid.units import plan_units
from release_kit.sae.pipeline.identity import changes
from release_kit.sae.pipeline.paths import SaeKey, sae_folder
from release_kit.sae.pipeline.plan import intervened_steps, keys, layers_of, steps_of
from release_kit.sae.pipeline.texts import study_texts
from release_kit.sae.prepare.language_models import train_language_model
from release_kit.sae.prepare.recipes import TINY_RECIPE
from release_kit.sae.spec.model import SaeStudy
from release_kit.sae.spec.read import read_study


def study_at(folder: Path, *changed: tuple[str, str], **settings: str) -> SaeStudy:
    file = write_study(folder, **settings) / "sae.yaml"
    text = file.read_text()
    for old, new in changed:
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)
    return read_study(file)


class Tokens:
    """A tokenizer with one token for each character."""

    bos_token_id = pad_token_id = eos_token_id = 0

    def __call__(self, texts: list[str], **_: bool) -> dict[str, list[list[int]]]:
        return {"input_ids": [[1] * len(text) for text in texts]}


def test_keys_come_by_size_step_layer_seed_and_names_lead_back(tmp_path: Path):
    study = study_at(tmp_path)
    found = keys(study)
    assert len(found) == 24 and found[0] == SaeKey(size="small", step=0, layer=1, seed=0)
    assert [key.size for key in found] == ["small"] * 12 + ["large"] * 12
    assert all(SaeKey.from_name(key.name) == key for key in found)
    assert sae_folder(tmp_path, found[-1]) == tmp_path / "saes/large/step-6/layer-2/seed-1"
    with pytest.raises(ValueError):
        SaeKey.from_name("small/layer-1/step-0/seed-0")


def test_step_0_is_planned_where_a_null_needs_it_and_only_there(tmp_path: Path):
    for nulls, wanted in (("[random-model]", (0, 3, 6)), ("[digits]", (3, 6))):
        study = study_at(tmp_path / nulls, nulls=nulls, steps="[3, 6]")
        assert steps_of(study, "small") == wanted
        assert intervened_steps(study, "small") == (3,)


def test_a_layer_that_a_size_has_not_is_refused(tmp_path: Path):
    study = study_at(tmp_path, ("seeds: [0, 1]", "seeds: [0, 1]\nlayers: [2, 3]"))
    assert layers_of(study, "small", 3) == (2, 3)
    with pytest.raises(SaeError, match=r"small has no layer 3: its layers are 1 to 2"):
        layers_of(study, "small")


def test_parts_need_what_they_read(tmp_path: Path):
    study = study_at(tmp_path, warm_start="previous-step")
    units = {unit.name: unit for unit in plan_units(study)}
    assert len(units) == 18
    assert units["train-small-0"].needs == ("model-small",)
    assert units["train-small-6"].needs == ("model-small", "train-small-3")
    assert units["measure-small-6"].needs == ("train-small-6", "train-small-0")
    assert units["intervene-small-3"].needs == (
        "train-small-3", "train-small-6", "measure-small-3", "measure-small-6",
    )  # fmt: skip
    assert next(iter(units)) == "model-large", "the size with most work comes first"
    order = Order(list(units.values()), tmp_path)
    assert [unit.name for unit in units.values() if order.is_ready(unit)] == ["model-large", "model-small"]


def test_a_selection_plans_what_the_selected_ones_need_and_no_more(tmp_path: Path):
    study = study_at(tmp_path)
    units = {unit.name: unit for unit in plan_units(study, {"size": ("small",), "step": (3,), "layer": (2,)})}
    assert set(units) == {
        "model-small", "train-small-0", "train-small-3", "train-small-6", "measure-small-0", "measure-small-3",
        "measure-small-6", "intervene-small-3",
    }  # fmt: skip
    assert {key.layer for unit in units.values() for key in unit.keys} == {2}
    only = study_at(tmp_path / "only", nulls="[digits]", classes="[]")
    assert {unit.name for unit in plan_units(only, {"step": (3,), "size": ("small",)})} == {
        "model-small", "train-small-3", "measure-small-3",
    }  # fmt: skip


def test_texts_are_split_once_and_give_as_many_tokens_as_are_needed(tmp_path: Path):
    study = study_at(tmp_path)
    texts = study_texts(study)
    assert texts is study_texts(study) and len(texts.held_out) == 30 and len(texts.train) > 100
    assert not {pair.en for pair in texts.train} & {pair.en for pair in texts.held_out}
    tokens = texts.train_tokens(Tokens())
    assert tokens.n_tokens >= 1280
    last = tokens.texts[-1].pair
    before = sum(len(text.text) for text in tokens.texts if text.pair != last)
    assert before < 1280, "the last pair is needed"
    languages = tokens.n_by_language()
    assert languages["en"] and languages["ja"] and not languages[""]
    more = study_at(tmp_path / "more", ("tokens: 1280", "tokens: 12800000"))
    assert study_texts(more).train_tokens(Tokens()).texts[-1].pair == study_texts(more).train[-1].id
    other = study_at(tmp_path / "other", ("n_held_out: 30", "n_held_out: 31"))
    assert study_texts(other).digest != texts.digest


def test_a_model_from_elsewhere_names_its_steps(tmp_path: Path):
    study = study_at(tmp_path, sizes="small")
    line = next(one for one in study.file.read_text().splitlines() if one.startswith("  small:"))
    path = study_at(tmp_path, (line, "  small: {path: somewhere}"), sizes="small")
    with pytest.raises(SaeError, match=r"no training step is named — write revisions"):
        steps_of(path, "small")


def test_a_random_model_has_the_shape_of_the_last_step(tmp_path: Path):
    from release_kit.sae.pipeline.models import open_step, shape_of, step_digest

    study = study_at(tmp_path, sizes="small")
    texts = study_texts(study)
    train_language_model(TINY_RECIPE, "small", texts.train, texts.held_out, tmp_path / "elsewhere")
    line = next(one for one in study.file.read_text().splitlines() if one.startswith("  small:"))
    new = "  small: {path: elsewhere/small, revisions: {4: step-4, 64: step-64}}"
    given = study_at(tmp_path, (line, new), sizes="small")
    assert steps_of(given, "small") == (0, 4, 64) and shape_of(given, "small") == (2, 32)
    random, again, last = (open_step(given, "small", step) for step in (0, 0, 64))
    weights = [lm.model.get_input_embeddings().weight for lm in (random, again, last)]
    assert weights[0].equal(weights[1]) and not weights[0].equal(weights[2])
    assert [step_digest(given, "small", step) for step in (0, 64)] == [random.digest, last.digest]
    with pytest.raises(SaeError, match=r"the model has no step 16; there are \[4, 64\]"):
        open_step(given, "small", 16)


def test_changes_are_told_by_name():
    there = {"a": 1, "b": {"c": 2, "d": "x" * 64}, "e": [1]}
    assert changes(there, {"a": 1, "b": {"c": 3, "d": "y" * 64}, "e": [1]}) == "b.c 2 → 3; b.d"
    assert changes(there, there) == ""
