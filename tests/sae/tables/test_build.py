"""Tables of a study: their columns, where rows come from, nulls joined over steps, the same bytes."""

import shutil

import numpy as np
import pytest

from release_kit.core import canonical
from release_kit.core.hashing import hash_file
from release_kit.sae.browser.tables import BrowserTables
from release_kit.sae.claims.read import read_tables
from release_kit.sae.errors import SaeError
from release_kit.sae.intervene.effects import effects
from release_kit.sae.measure.write import typed
from release_kit.sae.pipeline.paths import SaeKey, intervention_folder, measure_folder
from release_kit.sae.tables.build import build_tables
from release_kit.sae.tables.effects import losses_of
from release_kit.sae.tables.schema import CELL, CONTEXT_ROW, EFFECT_ROW, LINKS, LOSS_ROW, NULL_ROW, STABILITY_ROW

KEY = SaeKey(size="small", step=8, layer=1, seed=0)


def _bytes(study):
    return {path.name: path.read_bytes() for path in sorted((study.folder / "tables").glob("*")) if path.is_file()}


def test_tables_have_the_columns_of_the_format_and_of_their_readers(copied):
    study = copied()
    tables = build_tables(study).tables
    assert tables["saes"].schema.names == [*CELL, "metric", "language", "value", "source"]
    for name, columns in (
        ("nulls", NULL_ROW), ("contexts", CONTEXT_ROW), ("stability", STABILITY_ROW), ("effects", EFFECT_ROW)
    ):  # fmt: skip
        assert tables[name].schema.names == [*CELL, *columns]
    assert tables["links"].schema.names == list(LINKS)
    BrowserTables(
        saes=tables["saes"], features=tables["features"], contexts=tables["contexts"], links=tables["links"],
        languages=("en", "ja"),
    ).check()  # fmt: skip
    assert len(read_tables(study).nulls) == tables["nulls"].num_rows


def test_the_same_files_give_the_same_bytes_in_any_folder_and_again(copied):
    one, other = copied("one"), copied("other")
    build_tables(one), build_tables(other)
    before = _bytes(one)
    assert before == _bytes(other)
    build_tables(one)
    shutil.rmtree(other.folder / "tables" / "matches")
    build_tables(other)
    assert before == _bytes(one) == _bytes(other)


def test_the_record_names_every_source_with_its_digest(copied):
    study = copied()
    build_tables(study)
    record = canonical.read_json(study.folder / "tables" / "tables.json")
    assert len(record["sources"]) == 8 * 4 + 4
    for name, digest in record["sources"].items():
        assert hash_file(study.folder / name).sha256 == digest
    for name, said in record["files"].items():
        assert hash_file(study.folder / "tables" / name).sha256 == said["sha256"]
    assert record["missing"] == [] and len(record["saes"]) == 8


def test_the_random_model_of_a_share_is_step_0_of_the_same_size_layer_and_seed(copied):
    rows = build_tables(copied()).tables["nulls"].to_pylist()
    random = [row for row in rows if row["null"] == "random-model"]
    assert {row["step"] for row in random} == {8}

    def share(step):
        return next(
            row["share"] for row in rows
            if (row["step"], row["layer"], row["seed"]) == (step, 1, 0) and row["class"] == "bilingual"
            and row["rule"] == "rate" and row["by"] == "mass"
        )  # fmt: skip

    beside = next(
        row for row in random
        if (row["layer"], row["seed"], row["rule"], row["by"], row["class"]) == (1, 0, "rate", "mass", "bilingual")
    )  # fmt: skip
    assert beside["share"] == share(8) and beside["null_share"] == share(0) != share(8)


def test_effects_rest_on_all_seeds_and_follow_from_the_losses(copied):
    study = copied()
    rows = build_tables(study).tables["effects"].to_pylist()
    assert {(row["seed"], row["n_seeds"]) for row in rows} == {(-1, 2), (0, 1), (1, 1)}
    kinds = {row["kind"] for row in rows}
    assert kinds == {"en", "ja", "en>ja", "ja>en"}
    changes = []
    for seed in (0, 1):
        folder = intervention_folder(study.folder, SaeKey(size="small", step=0, layer=1, seed=seed))
        import pyarrow.parquet as pq

        losses = losses_of(pq.read_table(folder / "losses.parquet"))
        inside = np.array([kind == "ja" for kind in losses.kinds])
        place = losses.keys.index(("add", "ja", 0.5, "", 0))
        changes.append((losses.nll[place] - losses.nll[0])[inside].sum() / losses.n_tokens[inside].sum())
    found = {
        row["seed"]: row["value"] for row in rows
        if (row["layer"], row["variant"], row["name"], row["kind"], row["beside"]) == (1, "add", "ja", "ja", "")
    }  # fmt: skip
    assert found[-1] == pytest.approx(np.mean(changes), rel=1e-9)
    assert [found[0], found[1]] == pytest.approx(changes, rel=1e-9)
    assert {row["beside"] for row in rows if row["name"] == "bilingual"} == {"", "count", "norm", "en", "ja"}


def test_losses_survive_their_table():
    from release_kit.sae.intervene.run import BASE, Losses, loss_rows

    losses = Losses(
        keys=(BASE, ("add", "en", 0.5, "count", 1)), nll=np.array([[1.0, 2.0], [3.0, 4.5]]),
        n_tokens=np.array([3, 4]), kinds=("en", "ja"), ids=("a", "a"),
    )  # fmt: skip
    found = losses_of(typed([*loss_rows(losses)], LOSS_ROW))
    assert (found.keys, found.kinds, found.ids) == (losses.keys, losses.kinds, losses.ids)
    assert (found.nll == losses.nll).all() and (found.n_tokens == losses.n_tokens).all()
    assert len(list(effects([found], n_bootstrap=10))) == 0


def test_two_seeds_are_compared_beside_random_directions(copied):
    rows = build_tables(copied()).tables["stability"].to_pylist()
    assert [(row["seed"], row["other_seed"]) for row in rows] == [(0, 1)] * 4
    assert all(0 <= row["share_matched"] <= 1 and 0 < row["null_mean_cosine"] < 1 for row in rows)


def test_links_join_neighbouring_steps_one_to_one(copied):
    rows = build_tables(copied()).tables["links"].to_pylist()
    assert rows and {(row["from_step"], row["to_step"]) for row in rows} == {(0, 8)}
    ends = [(row["layer"], row["seed"], row["to_feature"]) for row in rows]
    assert len(ends) == len(set(ends)) and all(row["cosine"] >= 0.5 for row in rows)


def test_what_is_not_measured_yet_is_listed_and_the_rest_is_merged(copied):
    study = copied()
    shutil.rmtree(measure_folder(study.folder, KEY))
    tables = build_tables(study)
    assert tables.record["missing"] == [KEY.name]
    assert len(set(tables.tables["saes"].column("source").to_pylist())) == 7


def test_a_damaged_file_is_named_and_nothing_measured_is_refused(copied):
    study = copied()
    path = measure_folder(study.folder, KEY) / "metrics.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(SaeError, match=r"metrics\.parquet is damaged"):
        build_tables(study)
    shutil.rmtree(study.folder / "measures")
    with pytest.raises(SaeError, match="nothing is measured yet"):
        build_tables(study)
