"""Claims over tables with known shares: true ones are reproduced, turned ones not, and nothing rests on too little."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sae.report.table_factory import STEPS, published_shape, record_tables, write_tables

from release_kit.sae.claims.curves import Curves, between, trough, weights_at
from release_kit.sae.claims.read import StudyTables, read_tables, sizes_of
from release_kit.sae.claims.study import study_claims, write_claims
from release_kit.sae.claims.training import beyond_nulls
from release_kit.sae.errors import SaeError
from release_kit.sae.spec.read import read_study


def tables_of(folder: Path, *args: object, **more: object) -> StudyTables:
    return read_tables(read_study(write_tables(folder, *args, **more)))


def verdicts(tables: StudyTables) -> dict[tuple[str, str], str]:
    return {(claim.name, claim.by): claim.verdict for claim in study_claims(tables)}


def test_the_published_shape_is_reproduced_by_count_and_by_mass(tmp_path: Path):
    found = verdicts(tables_of(tmp_path))
    for by in ("count", "mass"):
        for name in ("separate-then", "bilingual-last", "middle-layers", "larger-more"):
            assert found[name, by] == "reproduced", (name, by)
    assert found["concepts-last", "count"] == "reproduced"
    for name in ("bilingual-helps", "bilingual-beyond-one", "each-its-own"):
        assert found[name, "loss"] == "reproduced"


def test_a_shape_that_is_there_by_count_only_is_told_apart_by_mass(tmp_path: Path):
    def share(size: str, step: int, layer: int, by: str) -> float:
        return published_shape(size, step, layer, by) if by == "count" else 0.9 - 0.1 * layer - 0.1 * STEPS.index(step)

    found = verdicts(tables_of(tmp_path, share))
    assert (found["middle-layers", "count"], found["middle-layers", "mass"]) == ("reproduced", "not reproduced")
    assert found["bilingual-last", "mass"] == "not reproduced"  # the share falls to the end


def test_what_the_random_model_has_too_is_not_reproduced(tmp_path: Path):
    """A middle layer above its neighbours says nothing where the random model has a higher one."""

    def share(size: str, step: int, layer: int, by: str) -> float:
        middle = layer in (2, 3)
        return 0.5 + 0.4 * middle if step == 0 else published_shape(size, step, layer, by)

    tables = tables_of(tmp_path, share)
    claim = next(each for each in study_claims(tables) if each.name == "middle-layers" and each.by == "count")
    assert claim.verdict == "not reproduced" and claim.weakest is not None
    assert claim.weakest.beside == "random-model"
    plain = [one for one in claim.needed if not one.beside]
    assert plain and all(one.outcome == "for" for one in plain)


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_fewer_than_three_seeds_tell_nothing_and_say_so(tmp_path: Path, seeds: tuple[int, ...]):
    for claim in study_claims(tables_of(tmp_path, seeds=seeds)):
        assert claim.verdict == "cannot be told"
        assert "a verdict needs 3" in claim.why or claim.why.startswith("needs ")


def test_a_share_without_its_null_is_no_evidence(tmp_path: Path):
    for claim in study_claims(tables_of(tmp_path, nulls=("random-model", "romanised", "digits"))):
        if claim.by != "loss" and claim.name != "concepts-last":
            assert claim.verdict == "cannot be told"
            assert "needs the null permuted-languages of small" in claim.why


def test_the_random_model_is_step_0_where_the_table_of_nulls_does_not_name_it(tmp_path: Path):
    found = verdicts(tables_of(tmp_path, nulls=("permuted-languages",)))
    assert found["separate-then", "count"] == "reproduced"


@pytest.mark.parametrize(
    ("helps", "verdict"), [(-0.05, "reproduced"), (0.05, "not reproduced"), (0.0, "cannot be told")]
)
def test_features_that_help_no_more_than_random_ones_reproduce_nothing(tmp_path: Path, helps: float, verdict: str):
    assert verdicts(tables_of(tmp_path, helps=helps))["bilingual-helps", "loss"] == verdict


def test_pooled_effects_are_judged_with_wider_intervals_than_their_bootstraps(tmp_path: Path):
    folder = write_tables(tmp_path)
    path = folder / "tables" / "effects.parquet"
    rows = [{**row, "seed": -1, "n_seeds": 3} for row in pq.read_table(path).to_pylist() if row["seed"] == 0]
    table = pq.read_table(path)
    pq.write_table(type(table).from_pylist(rows, schema=table.schema), path)
    record_tables(folder)
    claim = next(each for each in study_claims(read_tables(read_study(folder))) if each.name == "bilingual-helps")
    assert claim.n_seeds == 3 and claim.verdict == "cannot be told"
    for one in claim.needed:
        # 0.02 wide by the bootstrap; t with 2 degrees and the n / (n - 1) of resampling make it 2.69 times as wide
        assert one.high - one.low == pytest.approx(0.02 * 4.3027 / 1.96 * np.sqrt(1.5), rel=1e-3)


def test_the_lowest_of_many_steps_is_no_evidence_by_being_chosen():
    """Flat shares with noise, three seeds, four steps to choose from: a rise is claimed at most one time in twenty."""
    rng = np.random.default_rng(3)
    found = []
    for _ in range(400):
        curves = Curves(
            steps=(1, 2, 4, 8, 16, 32), layers=(1,), seeds=(0, 1, 2), real=rng.normal(0.5, 0.1, (3, 6, 1)), nulls={}
        )
        rise = weights_at(curves, 5) - weights_at(curves, trough(curves))
        found += beyond_nulls(curves, "s", "rise", rise, len(between(curves)))
    assert np.mean([one.outcome == "for" for one in found]) < 0.05
    assert np.mean([one.outcome == "against" for one in found]) < 0.05


def test_tables_and_json_hold_the_same_and_the_same_twice(tmp_path: Path):
    claims = study_claims(tables_of(tmp_path / "study"))
    for name in "ab":
        write_claims(claims, tmp_path / name)
    for part in ("tables/claims.parquet", "tables/claim_comparisons.parquet", "report/claims.json"):
        assert (tmp_path / "a" / part).read_bytes() == (tmp_path / "b" / part).read_bytes()
    rows = pq.read_table(tmp_path / "a/tables/claims.parquet").to_pylist()
    record = json.loads((tmp_path / "a/report/claims.json").read_bytes())["claims"]
    comparisons = pq.read_table(tmp_path / "a/tables/claim_comparisons.parquet").to_pylist()
    assert [row["verdict"] for row in rows] == [each["verdict"] for each in record]
    assert sum(len(each["comparisons"]) for each in record) == len(comparisons)
    for row, each in zip(rows, record, strict=True):
        needed = [one for one in each["comparisons"] if one["needed"]]
        assert row["n_needed"] == len(needed) and row["n_for"] == sum(one["outcome"] == "for" for one in needed)


def test_sizes_stand_from_the_smallest_whatever_the_file_says(tmp_path: Path):
    assert sizes_of(read_study(write_tables(tmp_path))) == ("small", "large")


def test_missing_tables_and_columns_are_named_at_once(tmp_path: Path):
    folder = write_tables(tmp_path)
    for name, column in (("saes", "metric"), ("features", "granularity")):
        path = folder / "tables" / f"{name}.parquet"
        pq.write_table(pq.read_table(path).drop_columns([column]), path)
    record_tables(folder)
    with pytest.raises(SaeError, match=r"saes.parquet lacks metric; tables/features.parquet lacks granularity"):
        read_tables(read_study(folder))
    (folder / "tables" / "nulls.parquet").unlink()
    with pytest.raises(SaeError, match=r"tables/nulls.parquet not there"):
        read_tables(read_study(folder))
