"""A measured cell: its files, resuming it, and what is refused."""

import hashlib
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from release_kit.core import canonical
from release_kit.sae.classify.counts import count_features
from release_kit.sae.classify.examples import released_classes
from release_kit.sae.classify.languages import rate_rule
from release_kit.sae.errors import ActivationError, SaeError
from release_kit.sae.formats.saelens import write_saelens
from release_kit.sae.grid.stale import find_all_stale
from release_kit.sae.grid.units import plan_units
from release_kit.sae.measure.cell import measure_cell
from release_kit.sae.metrics.reconstruction import reconstruction
from release_kit.sae.metrics.recovered import recovered
from release_kit.sae.pipeline.models import open_step
from release_kit.sae.pipeline.paths import MEASURE_FILE, MEASURES, SaeKey, measure_folder, sae_folder
from release_kit.sae.pipeline.read import read_finished
from release_kit.sae.pipeline.texts import study_texts
from release_kit.sae.spec.read import read_study

KEY = SaeKey(size="small", step=8, layer=2, seed=1)


def _quiet(stage, i, n):
    """Tell nobody."""


def _bytes(study):
    root = study.folder / MEASURES
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def measured(trained_folder, tmp_path_factory):
    folder = shutil.copytree(trained_folder, tmp_path_factory.mktemp("measured") / "study")
    study = read_study(folder / "sae.yaml")
    measure_cell(study, "small", 8, report=_quiet)
    return study


def test_every_layer_and_seed_has_its_files_and_the_record_names_their_digests(measured):
    assert len(list((measured.folder / MEASURES).rglob(MEASURE_FILE))) == 4
    names = {path.name for path in measure_folder(measured.folder, KEY).iterdir()}
    assert names == {"metrics.parquet", "features.parquet", "contexts.parquet", "nulls.parquet", MEASURE_FILE}


def test_one_pass_for_all_gives_what_a_pass_for_each_autoencoder_gives(measured):
    lm = open_step(measured, "small", 8)
    sae = read_finished(measured.folder, KEY).load()
    texts = study_texts(measured)
    tokens = texts.held_out_tokens(lm.tokenizer)
    counts = count_features(sae, lm, KEY.layer, tokens)
    table = pq.read_table(measure_folder(measured.folder, KEY) / "features.parquet")
    classes = rate_rule(counts.languages, min_documents=measured.classify.least_sentences).classes
    assert table.column("fired_ja").to_pylist() == counts.languages.fired[:, 2].tolist()
    assert table.column("class").to_pylist() == classes.tolist()


def test_metrics_are_those_of_the_functions_that_are_held_against_saelens(measured):
    from release_kit.sae.classify.counts import layer_activations

    lm = open_step(measured, "small", 8)
    sae = read_finished(measured.folder, KEY).load()
    tokens = study_texts(measured).held_out_tokens(lm.tokenizer)
    x, index = layer_activations(lm, KEY.layer, tokens, np.arange(tokens.n_rows))
    expected = reconstruction(sae, [(x, index)], tokens.language).by_language
    table = pq.read_table(measure_folder(measured.folder, KEY) / "metrics.parquet").to_pylist()
    found = {(row["metric"], row["language"]): row["value"] for row in table}
    for name, language in (("all", ""), ("en", "en"), ("ja", "ja")):
        for metric, value in expected[name].to_dict().items():
            assert found[metric, language] == pytest.approx(value, rel=1e-6, abs=1e-9), metric
    scores = recovered(sae, lm, KEY.layer, tokens)
    assert found["ce_score", ""] == pytest.approx(scores["all"].ce_score, rel=1e-4)
    assert found["kl_score", "ja"] == pytest.approx(scores["ja"].kl_score, rel=1e-4)


def test_contexts_carry_the_activation_at_every_token_of_the_window(measured):
    rows = pq.read_table(measure_folder(measured.folder, KEY) / "contexts.parquet").to_pylist()
    table = pq.read_table(measure_folder(measured.folder, KEY) / "features.parquet")
    largest = dict(zip(table.column("feature").to_pylist(), table.column("max_activation").to_pylist(), strict=True))
    assert 0 < len(rows) <= 300
    for row in rows:
        assert len(row["tokens"]) == len(row["activations"])
        assert row["activations"][row["peak"]] == pytest.approx(max(row["activations"]))
        assert row["activations"][row["peak"]] > 0 and row["pair_text"]
    best = {}
    for row in rows:
        best[row["feature"]] = max(best.get(row["feature"], 0), *row["activations"])
    assert all(value == pytest.approx(largest[feature], rel=1e-4) for feature, value in best.items())
    assert any(sum(value > 0 for value in row["activations"]) > 1 for row in rows)


def test_every_share_of_a_class_stands_beside_its_nulls_by_count_and_by_mass(measured):
    rows = pq.read_table(measure_folder(measured.folder, KEY) / "nulls.parquet").to_pylist()
    there = {(row["null"], row["by"]) for row in rows if row["class"] == "bilingual" and row["rule"] == "rate"}
    nulls = ("", "permuted-languages", "romanised", "digits")
    assert there == {(null, by) for null in nulls for by in ("count", "mass")}
    own = {(row["by"], row["class"]): row["share"] for row in rows if row["rule"] == "rate" and not row["null"]}
    assert sum(own["count", name] for name in ("en", "ja", "bilingual")) == pytest.approx(1)
    permuted = next(row for row in rows if row["null"] == "permuted-languages" and row["class"] == "bilingual")
    assert permuted["null_share"] > 0.9 and permuted["null_low"] <= permuted["null_share"] <= permuted["null_high"]


@pytest.mark.parametrize("stop_at", [0, 1, 2, 3, 4, 5, 6])
def test_a_cell_that_was_stopped_anywhere_goes_on_to_the_same_bytes(measured, copied, stop_at):
    class Stopped(Exception):
        """As a worker that is asked to stop."""

    def stop(stage, i, n):
        if i == stop_at:
            raise Stopped

    study = copied()
    with pytest.raises(Stopped):
        measure_cell(study, "small", 8, report=stop)
    measure_cell(study, "small", 8, report=_quiet)
    assert _bytes(study) == _bytes(measured)


def test_what_is_measured_is_not_measured_again(measured):
    told = []
    measure_cell(measured, "small", 8, report=lambda *what: told.append(what))
    assert told == []


def test_a_damaged_or_half_written_measure_is_made_again(measured, copied):
    study = copied()
    measure_cell(study, "small", 8, report=_quiet)
    (measure_folder(study.folder, KEY) / "nulls.parquet").write_bytes(b"half")
    measure_cell(study, "small", 8, report=_quiet)
    assert _bytes(study) == _bytes(measured)


def test_other_thresholds_are_measured_again(copied):
    study = copied()
    measure_cell(study, "small", 8, report=_quiet)
    before = _bytes(study)
    text = study.file.read_text(encoding="utf-8").replace("least_sentences: 3", "least_sentences: 4")
    study.file.write_text(text, encoding="utf-8")
    from release_kit.sae.spec.read import read_study

    measure_cell(read_study(study.file), "small", 8, report=_quiet)
    assert (
        _bytes(study)["small/step-8/layer-2/seed-1/measure.json"] != before["small/step-8/layer-2/seed-1/measure.json"]
    )


def test_an_activation_that_is_no_number_is_named_with_model_and_layer(copied, monkeypatch):
    study = copied()

    def poisoned(*args, **kwargs):
        lm = open_step(*args, **kwargs)
        with torch.no_grad():
            lm.model.model.layers[1].mlp.down_proj.weight[0, 0] = float("nan")
        return lm

    monkeypatch.setattr("release_kit.sae.measure.cell.open_step", poisoned)
    with pytest.raises(ActivationError, match="not finite") as error:
        measure_cell(study, "small", 8, report=_quiet)
    assert "step-8" in str(error.value) and "layer 2" in str(error.value)
    assert not (study.folder / MEASURES).exists()


def test_texts_without_one_of_the_languages_are_named(copied, monkeypatch):
    from dataclasses import replace

    study = copied()
    texts = study_texts(study)
    only = replace(texts, held_out=tuple(replace(pair, ja="") for pair in texts.held_out))
    monkeypatch.setattr("release_kit.sae.measure.cell.study_texts", lambda study: only)
    with pytest.raises(SaeError, match="no text in 'ja'"):
        measure_cell(study, "small", 8, report=_quiet)


def test_a_step_without_autoencoders_is_refused(copied):
    study = copied()
    shutil.rmtree(study.folder / "saes" / "small" / "step-8")
    with pytest.raises(SaeError, match="no autoencoder is finished"):
        measure_cell(study, "small", 8, report=_quiet)


def test_an_autoencoder_of_another_width_is_named(copied):
    from release_kit.sae.config import SaeConfig
    from release_kit.sae.dictionary import Sae

    study = copied()
    wide = Sae(config=SaeConfig(architecture="topk", d_in=8, n_features=48, k=4), w_enc=torch.randn(48, 8),
               b_enc=torch.zeros(48), w_dec=torch.randn(48, 8), b_dec=torch.zeros(8))  # fmt: skip
    folder = sae_folder(study.folder, KEY)
    record = (folder / "sae.json").read_text(encoding="utf-8")
    wide.save(folder)
    said = canonical.parse_json(record, "sae.json")
    for name in said["files"]:
        data = (folder / name).read_bytes()
        said["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "sae.json").write_bytes(canonical.document_bytes(said))
    with pytest.raises(SaeError, match="takes width 8, the model has 16"):
        measure_cell(study, "small", 8, report=_quiet)


def test_a_damaged_autoencoder_is_not_measured(measured, copied):
    study = copied()
    weights = sae_folder(study.folder, KEY) / "sae_weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-9] ^= 64
    weights.write_bytes(bytes(data))
    with pytest.raises(SaeError, match=r"sae_weights\.safetensors is damaged"):
        measure_cell(study, "small", 8, report=_quiet)
    assert not (measure_folder(study.folder, KEY) / MEASURE_FILE).exists()


def test_measures_are_of_the_bytes_that_they_were_taken_from(measured, copied):
    study = copied()
    shutil.copytree(measured.folder / "measures", study.folder / "measures", dirs_exist_ok=True)
    units = plan_units(study)
    assert not find_all_stale(study, units)
    folder = sae_folder(study.folder, KEY)
    sae = read_finished(study.folder, KEY).load()
    sae.b_dec[0] += 1e-6
    write_saelens(sae, folder, {})
    record = canonical.read_json(folder / "sae.json")
    for name in record["files"]:
        data = (folder / name).read_bytes()
        record["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "sae.json").write_bytes(canonical.document_bytes(record))
    stale = [one.sentence() for one in find_all_stale(study, units)]
    assert stale == [f"measures of {KEY.title}: the autoencoder has been made again since, with other bytes"]


def test_the_released_rule_is_measured_where_it_is_asked_for_and_changes_nothing_else(measured, copied):
    study = copied()
    file = study.folder / "sae.yaml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("least_sentences: 3,", "least_sentences: 3, rules: [released],"), encoding="utf-8")
    study = read_study(file)
    measure_cell(study, "small", 8, report=_quiet)
    asked = pq.read_table(measure_folder(study.folder, KEY) / "features.parquet")
    plain = pq.read_table(measure_folder(measured.folder, KEY) / "features.parquet")
    lm, sae = open_step(study, "small", 8), read_finished(study.folder, KEY).load()
    tokens = study_texts(study).held_out_tokens(lm.tokenizer)
    largest = count_features(sae, lm, KEY.layer, tokens).max_activation
    expected = released_classes(sae, lm, KEY.layer, tokens, largest).classes.tolist()
    assert asked["class_released"].to_pylist() == expected
    for name in plain.schema.names:
        np.testing.assert_array_equal(np.array(asked[name]), np.array(plain[name]), err_msg=name)
    rows = pq.read_table(measure_folder(study.folder, KEY) / "metrics.parquet").to_pylist()
    shares = {row["metric"]: row["value"] for row in rows if row["metric"].startswith("released_")}
    living = [name for name in expected if name != "dead"]
    assert shares["released_bilingual_count"] == pytest.approx(living.count("bilingual") / len(living))


def test_a_checkpoint_with_one_weight_changed_is_opened_by_nobody(copied):
    study = copied()
    path = study.folder / "models/small/step-8/model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(SaeError, match=r"the checkpoint is missing or damaged \(model\.safetensors\)"):
        open_step(study, "small", 8)
    assert open_step(study, "small", 0).d_model == 16
