"""Maps of models: planted clusters are found, pictures repeat, epochs of one run are no evidence."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from release_kit.core.errors import RecordError
from release_kit.core.files import write_atomic
from release_kit.core.results import Result, parquet_bytes
from release_kit.sft.analysis.cells import CellFacts
from release_kit.sft.analysis.distances import LATE_STEPS, METHOD_GAP, METHOD_LESS_DATASET, MORE_DATA
from release_kit.sft.analysis.maps import double_centred, model_map, nearest, principal_components, squared_distances
from release_kit.sft.analysis.vectors import Vectors, likelihood_vectors, score_vectors

N_DOCUMENTS = 120


def _cell(name: str, base: int, dataset: str, method: str = "full", size: int = 1, epoch: int = 1) -> CellFacts:
    return CellFacts(
        cell_id=name,
        base_model=f"base-{base}",
        dataset=dataset,
        method=method,
        data_size=size,
        schedule=None,
        seed=0,
        epoch=epoch,
        run=f"{base} {dataset} {method} {size}",
        others=(),
        untouched=dataset == "none",
    )


def _grid(rng: np.random.Generator, base_sd: float, data_sd: float) -> Vectors:
    """Four bases x three datasets x two methods x three epochs; epochs move less and less, LoRA lies beside full."""
    bases, data = rng.normal(size=(4, N_DOCUMENTS)) * base_sd, rng.normal(size=(3, N_DOCUMENTS)) * data_sd
    cells, rows = [], []
    for base in range(4):
        cells.append(_cell(f"{base}", base, "none", "none", 0, 0))
        rows.append(bases[base])
        for dataset in range(3):
            for method in ("full", "lora"):
                for size in (1, 2):
                    for epoch in (1, 2, 3):
                        cells.append(_cell(f"{len(cells)}", base, f"d{dataset}", method, size, epoch))
                        reach = size * (1 - 0.5**epoch)
                        rows.append(bases[base] + reach * data[dataset] + 0.02 * rng.normal(size=N_DOCUMENTS))
    return Vectors(kind="log-likelihood of documents", cells=tuple(cells), matrix=np.array(rows))


@pytest.fixture(scope="module")
def by_base():
    return model_map(_grid(np.random.default_rng(0), base_sd=2.0, data_sd=0.5))


def test_models_of_one_base_are_neighbours_where_bases_differ_most(by_base):
    assert by_base.purity["base_model"].value > 0.95
    less = by_base.purity["base_model less dataset"]
    # All four bases at the very end: no more than four that agree can say.
    assert less.value == 1.0 and less.low == pytest.approx(-1 + 2 * 0.05**0.25)
    assert by_base.chance_purity["base_model"] < 0.3
    other = model_map(_grid(np.random.default_rng(0), base_sd=0.2, data_sd=3.0))
    assert other.purity["base_model less dataset"].high < 0


def test_many_models_of_one_base_and_dataset_do_not_hide_the_comparison():
    vectors = _grid(np.random.default_rng(3), base_sd=2.0, data_sd=0.5)
    twins = tuple(
        replace(cell, cell_id=f"{cell.cell_id}-{k}", run=f"{cell.run} {k}") for k in range(4) for cell in vectors.cells
    )
    noise = 0.02 * np.random.default_rng(4).normal(size=(len(twins), N_DOCUMENTS))
    found = model_map(Vectors(kind="x", cells=twins, matrix=np.tile(vectors.matrix, (4, 1)) + noise))
    assert found.purity["dataset"].value > 0.9 and found.purity["base_model"].value > 0.9
    assert found.purity["base_model less dataset"].value > 0.9


def test_neighbours_that_hold_under_other_documents_are_stable(by_base):
    assert by_base.stability.value > 0.7 and by_base.stability.over == "document"
    noise = Vectors(
        kind="noise",
        cells=tuple(_cell(str(i), i % 4, f"d{i}") for i in range(60)),
        matrix=np.random.default_rng(1).normal(size=(60, N_DOCUMENTS)),
    )
    assert model_map(noise).stability.high < by_base.stability.low


def test_distances_see_epochs_methods_and_sizes(by_base):
    found = by_base.distances
    assert found["epoch 1 - epoch 2"].value > found["epoch 2 - epoch 3"].value
    assert found[LATE_STEPS].high < 0 and found[METHOD_LESS_DATASET].high < 0 and found[MORE_DATA].low > 0
    assert found[METHOD_GAP].value < found["full - full, other data"].value


def test_a_map_repeats_to_the_last_digit(by_base):
    again = model_map(_grid(np.random.default_rng(0), base_sd=2.0, data_sd=0.5))
    assert again == by_base
    assert len(by_base.points) == 4 + 4 * 3 * 2 * 2 * 3 and by_base.n_documents == N_DOCUMENTS


def test_epochs_of_the_same_run_are_never_neighbours():
    squared = squared_distances(np.array([[0.0], [0.1], [5.0], [9.0]]))
    runs = np.array([0, 0, 1, 2])
    found = nearest(squared, runs[:, None] != runs[None, :], k=3)
    assert found.tolist() == [[2, 3, -1], [2, 3, -1], [3, 1, 0], [2, 1, 0]]


def test_principal_components_explain_the_centred_matrix():
    matrix = double_centred(np.random.default_rng(2).normal(size=(12, 7)))
    assert np.abs(matrix.mean(axis=0)).max() < 1e-12 and np.abs(matrix.mean(axis=1)).max() < 1e-12
    scores, shares = principal_components(matrix, 7)
    assert shares.sum() == pytest.approx(1) and np.all(np.diff(shares) <= 1e-12)
    assert squared_distances(scores) == pytest.approx(squared_distances(matrix), abs=1e-9)


def test_too_few_models_make_no_map():
    cells = tuple(_cell(str(i), i, "d") for i in range(5))
    assert model_map(Vectors(kind="x", cells=cells, matrix=np.eye(5))) is None


def _write_samples(folder, cell: str, task: str, rows: list[dict]) -> None:
    columns = {name: [row[name] for row in rows] for name in ("doc_id", "target", "loglikelihoods", "n_bytes")}
    table = pa.table({"task": [task] * len(rows), **columns})
    write_atomic(folder / "cells" / cell / "eval" / f"{task}.samples.parquet", parquet_bytes(table))


def test_a_model_is_what_it_gives_to_the_right_answers(tmp_path):
    facts = {name: _cell(name, i, "d") for i, name in enumerate("ab")}
    for shift, cell in enumerate("ab"):
        choices = [
            {"doc_id": i, "target": "1", "loglikelihoods": [-9.0, -4.0 - shift], "n_bytes": [2, 2]} for i in range(3)
        ]
        _write_samples(tmp_path, cell, "choices", choices[: 3 - shift])
        _write_samples(
            tmp_path, cell, "text", [{"doc_id": 0, "target": "x", "loglikelihoods": [-30.0], "n_bytes": [10]}]
        )
        _write_samples(
            tmp_path, cell, "written", [{"doc_id": 0, "target": "5", "loglikelihoods": None, "n_bytes": [3]}]
        )
    vectors = likelihood_vectors(tmp_path, facts)
    assert vectors.matrix.tolist() == [[-2.0, -2.0, -3.0], [-2.5, -2.5, -3.0]], (
        "documents that one model lacks are left out"
    )
    assert [cell.cell_id for cell in vectors.cells] == ["a", "b"]


def test_no_task_outweighs_another(tmp_path):
    facts = {name: _cell(name, i, "d") for i, name in enumerate("ab")}
    for cell in facts:
        for task, n in (("large", 400), ("small", 5)):
            rows = [{"doc_id": i, "target": "0", "loglikelihoods": [-1.0 * i], "n_bytes": [1]} for i in range(n)]
            _write_samples(tmp_path, cell, task, rows)
    assert likelihood_vectors(tmp_path, facts).matrix.shape == (2, 155)


def test_without_samples_models_are_placed_by_scores(tmp_path):
    facts = {str(i): _cell(str(i), i % 2, f"d{i}") for i in range(4)}
    rows = [
        Result(cell_id=cell, benchmark=f"t{j}", metric="acc", value=float(i * j), n_shot=0)
        for i, cell in enumerate(facts)
        for j in range(4)
    ]
    assert likelihood_vectors(tmp_path, facts) is None
    vectors = score_vectors(rows, facts)
    assert vectors.kind == "scores of metrics" and vectors.matrix.shape == (4, 4)
    assert np.allclose(vectors.matrix.mean(axis=0), 0)


def test_a_broken_samples_file_is_named(tmp_path):
    path = tmp_path / "cells" / "a" / "eval" / "t.samples.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PAR1 no")
    with pytest.raises(RecordError, match=r"t\.samples\.parquet: is not a file of samples"):
        likelihood_vectors(tmp_path, {"a": _cell("a", 0, "d")})
