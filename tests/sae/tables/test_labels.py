"""People's labels beside the automatic rule, and synonyms of a study: in tables, in the report, in its check."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from release_kit.sae.claims.read import read_tables
from release_kit.sae.classify.granularity import GRANULARITIES
from release_kit.sae.errors import SaeError
from release_kit.sae.grid.check import check_study
from release_kit.sae.grid.stale import find_all_stale
from release_kit.sae.grid.units import plan_units
from release_kit.sae.measure.cell import measure_cell
from release_kit.sae.pipeline.paths import SaeKey, measure_folder
from release_kit.sae.report.report import write_report
from release_kit.sae.spec.model import SaeStudy
from release_kit.sae.spec.read import read_study
from release_kit.sae.tables.build import build_tables

KEY = SaeKey(size="small", step=8, layer=1, seed=0)
HEAD = "size\tstep\tlayer\tseed\tfeature\tlabel\n"
WORDS = (
    "dog\ten\tdog\ndog\tja\tいぬ\nsister\ten\tsister\nsister\tja\tいもうと\nsee\ten\tsees\nsee\ten\tlikes\n"
    "see\ten\twants\nsee\ten\tseeks\nsee\ten\tbuys\nsee\tja\tます\nsee\tja\tです\nthe\ten\tthe\nthe\ten\ta\n"
)


def _with(study: SaeStudy, more: str) -> SaeStudy:
    text = study.file.read_text(encoding="utf-8")
    study.file.write_text(text.replace("least_sentences: 3,", f"least_sentences: 3, {more},"), encoding="utf-8")
    return read_study(study.file)


def _labelled(study: SaeStudy, lines: str) -> SaeStudy:
    (study.folder / "labels.tsv").write_text(HEAD + lines, encoding="utf-8")
    return _with(study, "labels: labels.tsv")


def test_labels_stand_beside_the_rule_and_change_no_measure(copied):
    study = copied()
    before = build_tables(study).tables["features"].to_pylist()
    own = [row for row in before if (row["step"], row["layer"], row["seed"]) == (8, 1, 0) and row["granularity"]][:6]
    others = [next(name for name in GRANULARITIES if name != row["granularity"]) for row in own[4:]]
    labels = [row["granularity"] for row in own[:4]] + others
    lines = "".join(f"small\t8\t1\t0\t{row['feature']}\t{label}\n" for row, label in zip(own, labels, strict=True))
    study = _labelled(study, lines)
    rows = build_tables(study).tables["labels"].to_pylist()
    assert [row["label"] for row in rows] == labels and [row["feature"] for row in rows] == [r["feature"] for r in own]
    assert [row["granularity"] for row in rows] == [row["granularity"] for row in own]
    assert not find_all_stale(study, plan_units(study))
    page = write_report(study).path.read_text(encoding="utf-8")
    assert "people&#x27;s labels of 6 features" in page and ">0.67<" in page


def test_tables_of_other_labels_are_refused_until_they_are_made_again(copied):
    study = _labelled(copied(), "small\t8\t1\t0\t0\ttoken\n")
    build_tables(study)
    (study.folder / "labels.tsv").write_text(f"{HEAD}small\t8\t1\t0\t1\ttoken\n", encoding="utf-8")
    with pytest.raises(SaeError, match=r"declared otherwise: classify\.labels"):
        read_tables(study)
    build_tables(study)
    assert read_tables(study).tables["labels"].column("feature").to_pylist() == [1]


def test_a_table_of_labels_goes_when_the_study_names_none(copied):
    study = _labelled(copied(), "small\t8\t1\t0\t0\ttoken\n")
    build_tables(study)
    study.file.write_text(study.file.read_text(encoding="utf-8").replace(" labels: labels.tsv,", ""), encoding="utf-8")
    build_tables(read_study(study.file))
    assert not (study.folder / "tables/labels.parquet").exists()


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("small\t8\t1\t0\t0\n", "line 2 has 5 columns; expected 6"),
        ("small\t8\t1\t0\tx\ttoken\n", "line 2 has a step, layer, seed or feature that is no number"),
        ("small\t9\t1\t0\t0\ttoken\n", "line 2 names small, step 9, layer 1, seed 0, which the study has not"),
        ("small\t8\t1\t0\t0\ttokens\n", "line 2 has the label 'tokens', none of .*did you mean 'token'"),
        ("small\t8\t1\t0\t0\ttoken\n" * 2, "line 3 labels feature 0 of .* a second time"),
    ],
)
def test_wrong_lines_are_found_before_anything_runs(copied, lines: str, said: str):
    study = _labelled(copied(), lines)
    (problem,) = [one for one in check_study(study) if one.code == "labels"]
    with pytest.raises(SaeError, match=said):
        build_tables(study)
    assert problem.severity == "error" and problem.where.endswith("labels.tsv")


def test_a_label_of_a_feature_that_is_not_there_is_refused(copied):
    study = _labelled(copied(), "small\t8\t1\t0\t480\ttoken\n")
    with pytest.raises(SaeError, match=r"small, step 8, layer 1, seed 0 has no feature 480"):
        build_tables(study)


def test_synonyms_of_a_study_come_from_its_table_of_words_and_stand_beside_chance(copied, finished_folder: Path):
    study = copied()
    (study.folder / "words.tsv").write_text(WORDS, encoding="utf-8")
    study = _with(study, "meanings: words.tsv")
    stale = find_all_stale(study, plan_units(study))
    assert {one.kind for one in stale} == {"measure"} and "classify" in stale[0].changed
    for step in (0, 8):
        measure_cell(study, "small", step, report=lambda *_: None)
    assert not [one for one in find_all_stale(study, plan_units(study)) if one.kind == "measure"]
    rows = {
        row["metric"]: row["value"]
        for row in pq.read_table(measure_folder(study.folder, KEY) / "metrics.parquet").to_pylist()
    }
    shares = [rows[f"granularity_{name}"] for name in GRANULARITIES]
    assert sum(shares) == pytest.approx(1) and 0 <= rows["granularity_synonym_shuffled"] <= 1
    new = pq.read_table(measure_folder(study.folder, KEY) / "features.parquet")
    old = pq.read_table(
        finished_folder / measure_folder(study.folder, KEY).relative_to(study.folder) / "features.parquet"
    )
    for name in set(new.schema.names) - {"granularity"}:
        np.testing.assert_array_equal(np.array(new[name]), np.array(old[name]), err_msg=name)
    changed = [
        (one, other)
        for one, other in zip(old["granularity"].to_pylist(), new["granularity"].to_pylist(), strict=True)
        if one != other
    ]
    assert {other for _, other in changed} <= {"synonym"} and "token" not in {one for one, _ in changed}
    every = [
        name
        for path in sorted((study.folder / "measures").rglob("features.parquet"))
        for name in pq.read_table(path)["granularity"].to_pylist()
    ]
    assert "synonym" in every
    for path in sorted((study.folder / "interventions").rglob("intervention.json")):
        path.unlink()
    build_tables(study)
    page = write_report(study).path.read_text(encoding="utf-8")
    assert "Synonyms, meanings shuffled" in page and "meanings of words.tsv" in page


def test_a_dictionary_of_no_token_and_a_malformed_one_are_named(copied):
    study = copied()
    (study.folder / "words.tsv").write_text("cat\ten\tcatamaran\ncat\tja\t双胴船\n", encoding="utf-8")
    study = _with(study, "meanings: words.tsv")
    with pytest.raises(SaeError, match=r"no token is a word in en of .*words.tsv"):
        measure_cell(study, "small", 8, report=lambda *_: None)
    (study.folder / "words.tsv").write_text("cat\ten\n", encoding="utf-8")
    (problem,) = [one for one in check_study(study) if one.code == "meanings"]
    assert problem.severity == "error" and "line 1 has 2 columns" in problem.what
