"""Tables that were measured beside the results are published, described and held against what lies there."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from release_kit.core.errors import RecordError
from release_kit.core.study import Study
from release_kit.release.build import build_release
from release_kit.release.cards.compare import check_cards
from release_kit.release.cards.inputs import read_card_inputs
from release_kit.release.check.run import check_study

PATH = "tables/dataset_properties.parquet"


def write_properties(study: Study, n_rows: int) -> None:
    rows = {"dataset": ["lima"] * n_rows, "property": ["tokens_mean"] * n_rows, "value": [float(n_rows)] * n_rows}
    (study.folder / "tables").mkdir(exist_ok=True)
    pq.write_table(pa.table(rows), study.folder / PATH)


def test_measured_table_goes_into_the_release_as_it_lies(make_study: Callable[..., Study]):
    study = make_study()
    before = {entry.path for entry in build_release(study).manifest.results}
    write_properties(study, 3)
    manifest = build_release(study).manifest
    assert {entry.path for entry in manifest.results} - before == {f"sources/{PATH}"}
    card = (study.folder / "release/results/README.md").read_text()
    assert f"path: sources/{PATH}" in card
    assert "Columns of `dataset_properties.parquet`" in card
    assert not check_cards(read_card_inputs(study)).problems


def test_measured_table_that_changed_after_the_build_is_reported(make_study: Callable[..., Study]):
    study = make_study()
    write_properties(study, 3)
    build_release(study)
    write_properties(study, 4)
    codes = {problem.code for problem in check_study(study).problems}
    assert {"release-stale", "card-stale"} & codes


def test_broken_measured_table_is_named(make_study: Callable[..., Study]):
    study = make_study()
    write_properties(study, 1)
    Path(study.folder / PATH).write_bytes(b"PAR1 no")
    with pytest.raises(RecordError, match=r"dataset_properties\.parquet: is not a Parquet table"):
        build_release(study)
