"""What cards say, and that the Hub's own client reads it back as it was meant."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest
import study_factory
import yaml
from huggingface_hub import DatasetCard, ModelCard, parse_eval_result_entries
from huggingface_hub.repocard_data import eval_results_to_model_index, model_index_to_eval_results

from release_kit.core.canonical import digest
from release_kit.core.results import Result
from release_kit.core.study import read_study
from release_kit.release.build import build_release
from release_kit.release.cards import CardInputs, read_card_inputs, render_cards
from release_kit.release.cards.lint import lint_card
from release_kit.release.cards.templates import KINDS, section_needs
from release_kit.release.cards.trace import parse_trace, traced_numbers, visible_numbers

CELL, FULL, BASE = "tiny-llama-alpaca-lora-s0", "tiny-llama-alpaca-full-s0", "tiny-llama-none-base-s0"


def texts(inputs: CardInputs) -> dict[str, str]:
    return {path: data.decode() for path, data in render_cards(inputs)}


def with_shots(inputs: CardInputs) -> CardInputs:
    """Every result also as 5-shot, a little better."""
    more = [dataclasses.replace(row, n_shot=5, value=(row.value or 0) * 0.9) for row in inputs.results]
    return dataclasses.replace(inputs, results=(*inputs.results, *more))


def with_study(inputs: CardInputs, **changes) -> CardInputs:
    return dataclasses.replace(inputs, study=dataclasses.replace(inputs.study, **changes))


def test_same_inputs_give_same_bytes_in_any_order_of_rows(built):
    inputs = built.inputs()
    turned = dataclasses.replace(inputs, results=tuple(reversed(inputs.results)))
    assert list(render_cards(inputs)) == list(render_cards(turned))


def test_cards_of_a_moved_study_are_the_same(built, tmp_path):
    before = texts(built.inputs())
    shutil.move(built.study.folder, tmp_path / "elsewhere")
    assert texts(read_card_inputs(read_study(tmp_path / "elsewhere"))) == before


def test_client_reads_the_front_matter_of_a_cell_as_it_was_meant(built):
    data = ModelCard.load(built.card(CELL)).data
    assert (data.license, data.language, data.library_name) == ("apache-2.0", ["en"], "peft")
    assert (data.base_model, data.base_model_relation) == ("test-lab/tiny-llama", "adapter")
    assert (data.datasets, data.pipeline_tag, data.model_name) == (["test-lab/alpaca"], "text-generation", CELL)
    full = ModelCard.load(built.card(FULL)).data
    assert (full.library_name, full.base_model_relation) == ("transformers", "finetune")
    assert not hasattr(ModelCard.load(built.card(BASE)).data, "base_model_relation")


def test_every_result_is_in_the_model_index_unrounded(built):
    inputs = built.inputs()
    for cell in inputs.cells:
        results = ModelCard.load(built.card(cell.name)).data.eval_results
        own = {row.benchmark: row.value for row in inputs.results if row.cell_id == cell.cell_id}
        assert {r.dataset_type: r.metric_value for r in results} == own


def test_shots_of_one_benchmark_stay_two_results_even_after_the_clients_helper_merges(built):
    text = texts(with_shots(built.inputs()))[f"cells/{CELL}/README.md"]
    index = yaml.safe_load(text.split("---")[1])["model-index"]
    name, results = model_index_to_eval_results(index)
    arc = [r for r in results if r.dataset_type == "arc_tiny"]
    assert [r.dataset_args for r in arc] == [{"num_few_shot": 0}, {"num_few_shot": 5}]
    assert arc[0].metric_value != arc[1].metric_value
    merged = eval_results_to_model_index(name, results)[0]["results"]
    names = [m["name"] for r in merged if r["dataset"]["type"] == "arc_tiny" for m in r["metrics"]]
    assert names == ["acc (0-shot)", "acc (5-shot)"]
    assert lint_card(text, "card") == []


def test_eval_results_are_written_for_registered_benchmarks_only_and_the_client_reads_them(built):
    file = built.study.folder / "study.yaml"
    document = yaml.safe_load(file.read_text())
    document["benchmarks"]["arc_tiny"]["acc"]["hub"] = {"dataset": "test-org/arc", "task_id": "tiny"}
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    made = texts(with_shots(built.inputs()))
    paths = [path for path in made if path.startswith(f"cells/{CELL}/.eval_results/")]
    assert paths == [f"cells/{CELL}/.eval_results/test-org-arc.yaml"]
    entries = parse_eval_result_entries(yaml.safe_load(made[paths[0]]))
    assert [(e.dataset_id, e.task_id) for e in entries] == [("test-org/arc", "tiny")] * 2
    assert entries[0].notes.startswith("0-shot, acc") and entries[1].notes.startswith("5-shot, acc")
    assert entries[0].value in [row.value for row in built.inputs().results]


def test_every_number_in_a_table_is_in_the_trace_or_its_table_has_one_source(built):
    for path, text in texts(built.inputs()).items():
        if path.endswith("README.md"):
            trace = parse_trace(text, path)
            traced = {address: number.shown for address, number in traced_numbers(trace, path).items()}
            whole = {name for name, table in trace.numbers.items() if "from" in table}
            seen = {address: shown for address, (shown, _) in visible_numbers(text).items()}
            assert {a: shown for a, shown in seen.items() if a[0] not in whole} == traced
            assert len(seen) > 1


def test_trace_leads_from_a_shown_number_to_the_table_the_row_and_the_source_file(built):
    inputs = built.inputs()
    table = parse_trace(built.card(CELL).read_text(), CELL).numbers["evaluation"]
    rows = {(r.cell_id, r.benchmark, r.n_shot, r.metric): r for r in inputs.results}
    for identity, shown, origin in table["rows"]:
        found = dict(zip(table["origin"], origin, strict=True))
        row = rows[(table["cell"], *identity)]
        assert found["value"] == row.value and shown[0] == f"**{row.value:.4f}**"
        source = table["files"][found["file"]].replace(f"cells/{CELL}/", f"cells/{table['cell']}/")
        pointer = json.loads((built.study.folder / source).read_text())
        for part in found["source_key"].split("/")[1:]:
            pointer = pointer[part]
        assert pointer == row.value


def test_new_row_in_a_shared_table_leaves_the_cards_of_other_cells_alone(built):
    def shared(row: Result, sha256: str) -> Result:
        return dataclasses.replace(row, source="scores.csv", source_sha256=sha256)

    inputs = built.inputs()
    before = texts(dataclasses.replace(inputs, results=tuple(shared(row, "a" * 64) for row in inputs.results)))
    rows = [shared(row, "b" * 64) for row in inputs.results]
    extra = dataclasses.replace(rows[0], benchmark="new_benchmark")
    after = texts(dataclasses.replace(inputs, results=(*rows, extra)))
    changed = {path for path in before if path.startswith("cells/") and before[path] != after[path]}
    name = next(cell.name for cell in inputs.cells if cell.cell_id == extra.cell_id)
    assert changed == {f"cells/{name}/README.md", f"cells/{name}/figures/evaluation.svg"}


def test_sections_without_facts_do_not_appear(built):
    inputs = with_study(built.inputs(), license=None, languages=(), authors=(), settings={}, baseline=None)
    bare = [
        dataclasses.replace(cell, cell=dataclasses.replace(cell.cell, provenance={}), levels=dict(cell.levels))
        for cell in inputs.cells
    ]
    rows = tuple(dataclasses.replace(row, stderr=None, n=None, n_shot=None) for row in inputs.results)
    made = texts(dataclasses.replace(inputs, cells=tuple(bare), results=rows))
    card = made[f"cells/{CELL}/README.md"]
    for absent in ("license", "language", "Std. error", "| n |", "Base model", "## Provenance", "## Citation", "args"):
        assert absent not in card.split("<!-- release_kit:trace")[0]
    index = made["index/README.md"]
    assert "## Authors" not in index and "## Holes" not in index and "Better than base" not in index
    for text in made.values():
        assert "None" not in text.split("<!-- release_kit:trace")[0] and "[More Information Needed]" not in text


def test_cell_without_results_has_a_card_without_numbers(built):
    inputs = built.inputs()
    gone = inputs.cells[0]
    rows = tuple(row for row in inputs.results if row.cell_id != gone.cell_id)
    made = texts(dataclasses.replace(inputs, results=rows))
    card = made[f"cells/{gone.name}/README.md"]
    assert "## Evaluation" not in card and "model-index" not in card and "## How to load it" in card
    assert f"cells/{gone.name}/figures/evaluation.svg" not in made
    assert gone.name in made["index/README.md"].split("## Holes")[1]


def test_result_without_a_value_is_a_dash_and_not_in_the_model_index(built):
    inputs = built.inputs()
    rows = tuple(dataclasses.replace(row, value=None) if row.benchmark == "arc_tiny" else row for row in inputs.results)
    card = texts(dataclasses.replace(inputs, results=rows))[f"cells/{CELL}/README.md"]
    assert re.search(r"\| arc_tiny \| 0 \| acc \| — \|", card)
    results = yaml.safe_load(card.split("---")[1])["model-index"][0]["results"]
    assert [r["dataset"]["type"] for r in results] == ["copa_tiny", "nq_tiny"]


def test_hostile_names_stay_text(tmp_path):
    names = ("a|b`c](x)<script>alert(1)</script>", "'; rm -rf ~ #", '"quoted": [yaml] # not a comment', "日本語 --> x")
    study = study_factory.make_study(tmp_path / "study", datasets=names, methods=("full",), seeds=(0,), with_base=False)
    file = tmp_path / "study" / "study.yaml"
    document = yaml.safe_load(file.read_text()) | {"title": "T ] | `x` <b>", "description": "<!-- release_kit:trace x"}
    document["factors"]["dataset"] = {name: {} for name in names}
    document["names"] = "{base_model}-{seed}-{dataset}"
    file.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
    study = read_study(tmp_path / "study")
    build_release(study)
    made = texts(read_card_inputs(study))
    cards = [path for path in made if path.endswith("README.md")]
    assert len(cards) == len(names) + 2
    for path in cards:
        assert "<script>" not in made[path] and made[path].count("-->\n") == made[path].count("<!--")
        trace = parse_trace(made[path], path)
        assert trace is not None and traced_numbers(trace, path) is not None
        assert lint_card(made[path], path) == [] or "base_model" in made[path]
    levels = {shown for path in cards[:-2] for a, (shown, _) in visible_numbers(made[path]).items() if a[0] == "levels"}
    assert len(levels & {f"`{names[1]}`", f"`{names[2]}`"}) == 2


def test_artifact_file_of_a_name_that_belongs_to_the_card_is_refused(built):
    inputs = built.inputs()
    file = dataclasses.replace(inputs.cells[0].files[0], path="figures/evaluation.svg")
    cell = dataclasses.replace(inputs.cells[0], files=(file,))
    with pytest.raises(Exception, match=r"figures/evaluation\.svg"):
        texts(dataclasses.replace(inputs, cells=(cell, *inputs.cells[1:])))


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ("repos", [f'"lab/{FULL}"', "from_pretrained(source)"]),
        ("branches", ['"lab/tiny-grid"', f'from_pretrained(source, revision="{FULL}")']),
        ("folders", ['"lab/tiny-grid"', f'from_pretrained(source, subfolder="cells/{FULL}")']),
    ],
)
def test_loading_code_follows_the_layout(built, layout, expected):
    card = texts(with_study(built.inputs(), namespace="lab", layout=layout))[f"cells/{FULL}/README.md"]
    code = card.split("## How to load it")[1].split("```")[1].removeprefix("python")
    compile(code, "card", "exec")
    assert all(part in code for part in expected)
    assert "release-kit download lab/tiny-grid copy --select base_model=tiny-llama" in card


@pytest.mark.parametrize("namespace", [None, "lab"])
def test_a_new_version_changes_no_card_of_a_cell(built, namespace):
    """Otherwise every unchanged cell would get a new commit with every version."""
    first, second = (
        texts(with_study(built.inputs(), namespace=namespace, layout="repos", version=version)) for version in "12"
    )
    changed = {path for path in first if first[path] != second[path]}
    assert changed and not any(path.startswith("cells/") for path in changed)


def test_every_python_block_of_every_card_compiles(built):
    for namespace in (None, "lab"):
        for path, text in texts(with_study(built.inputs(), namespace=namespace, layout="repos")).items():
            for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
                compile(block, path, "exec")


def test_results_dataset_loads_by_the_configs_of_its_card(built, tmp_path):
    from datasets import load_dataset

    folder = str(built.release / "results")
    results = load_dataset(folder, "results", split="train", cache_dir=str(tmp_path / "cache"))
    cells = load_dataset(folder, "cells", split="train", cache_dir=str(tmp_path / "cache"))
    assert results.num_rows == 27 and cells.num_rows == 9
    card = DatasetCard.load(built.release / "results" / "README.md")
    assert card.data.size_categories == ["n<1K"] and card.data.configs[0]["default"] is True
    for name, table in (("results", results), ("cells", cells)):
        documented = re.findall(r"^\| `(\w+)` \|", card.text.split(f"## Columns of `{name}.parquet`")[1], re.MULTILINE)
        assert documented[: len(table.column_names)] == table.column_names


def test_index_of_a_large_grid_sums_up_by_base_model(tmp_path):
    study = study_factory.make_study(
        tmp_path / "study", base_models=("one", "two"), datasets=tuple(f"d{i:02}" for i in range(13)), seeds=(0,)
    )
    build_release(study)
    index = (tmp_path / "study/release/index/README.md").read_text()
    numbers = visible_numbers(index)
    assert "## Medians by `base_model`" in index and "## Cells" not in index
    rows = read_card_inputs(study).results
    names = {cell.cell_id: cell for cell in read_card_inputs(study).cells}
    values = sorted(
        r.value for r in rows
        if r.benchmark == "arc_tiny"
        and names[r.cell_id].levels["base_model"] == "two"
        and names[r.cell_id].kind != "results-only"
    )  # fmt: skip
    median = (values[12] + values[13]) / 2
    assert numbers[("groups", ("arc_tiny", "0", "acc"), "two")][0] == f"{median:.4f}"


def test_index_names_best_cell_and_how_many_beat_their_base(built):
    inputs = built.inputs()
    rows = [row for row in inputs.results if row.benchmark == "copa_tiny"]
    names = {cell.cell_id: cell.name for cell in inputs.cells}
    base = next(row.value for row in rows if names[row.cell_id] == BASE)
    others = [row for row in rows if names[row.cell_id] != BASE]
    numbers = visible_numbers((built.release / "index/README.md").read_text())
    key = ("copa_tiny", "0", "acc")
    best = max(others, key=lambda row: row.value)
    assert numbers[("results", key, "Best cell")][0] == f"`{names[best.cell_id]}`"
    beaten = sum(row.value > base for row in others)
    assert numbers[("results", key, "Better than base")][0] == f"{beaten} / 8"


def test_every_section_of_the_field_table_stands_in_its_template_and_back():
    for kind in KINDS:
        template = (Path(__file__).parents[3] / "dataset_cards" / f"{kind}.md.jinja").read_text()
        assert set(re.findall(r"show\.(\w+)", template)) == set(section_needs()[kind])


def test_figures_are_valid_xml_without_styles_or_scripts(built):
    from xml.etree import ElementTree

    for path, text in texts(built.inputs()).items():
        if path.endswith(".svg"):
            root = ElementTree.fromstring(text)
            names = {element.tag.rpartition("}")[2] for element in root.iter()}
            assert not names & {"style", "script", "foreignObject", "image"} and "text" in names
            assert not any("style" in element.attrib for element in root.iter())


def test_card_of_a_cell_names_the_digests_of_its_files(built):
    text = built.card(CELL).read_text()
    for file in next(cell for cell in built.inputs().cells if cell.name == CELL).files:
        assert f"| `{file.path}` | {file.size_bytes:,} | `{file.sha256}` |" in text


def test_trace_digest_of_rows_is_the_documented_one(built):
    table = parse_trace(built.card(CELL).read_text(), CELL).numbers["evaluation"]
    rows = sorted((r for r in built.inputs().results if r.cell_id == table["cell"]), key=lambda r: r.key)
    values = [
        [r.benchmark, r.n_shot, r.metric, r.value, r.stderr, r.n, r.source, r.source_row, r.source_key] for r in rows
    ]
    assert table["rows_sha256"] == digest(values)
