"""``cards --check`` names every number that no longer follows, and nothing else."""

import dataclasses
import json
import random
import re

from release_kit.core.results import RESULTS_FILE, write_results
from release_kit.release.build import build_release
from release_kit.release.cards.compare import changed_cards, check_cards, diff_text
from release_kit.release.cards.compare_card import compare_card

CELL, OTHER, BASE = "tiny-llama-alpaca-lora-s0", "tiny-llama-lima-full-s1", "tiny-llama-none-base-s0"


def found(built, path=None):
    return [p for p in check_cards(built.inputs()).problems if path is None or p.path == path]


def edit(path, old, new):
    text = path.read_text()
    assert old in text, f"{old!r} is not in {path}"
    path.write_text(text.replace(old, new, 1))


def test_cards_just_built_follow_from_the_results(built):
    report = check_cards(built.inputs())
    assert report.problems == () and report.ok
    assert report.n_cards == 11 and report.n_numbers > 200


def test_changed_result_is_named_with_card_line_shown_now_and_row(built):
    built.change_value(CELL, "arc_tiny", 0.123456)
    path = f"cells/{CELL}/README.md"
    problems = found(built, path)
    value = next(p for p in problems if "arc_tiny · 0 · acc, Value" in p.what)
    line = built.card(CELL).read_text().split("\n")[value.line - 1]
    assert value.code == "number-stale" and value.now == "0.1235" and value.shown in line
    assert value.row["benchmark"] == "arc_tiny" and value.row["value"] == 0.123456
    assert value.row["file"] == f"cells/{CELL}/eval/arc_tiny.json" and value.row["table"] == "results/results.parquet"
    assert {p.what.split(", ")[1].split(" shows")[0] for p in problems if p.what.startswith("evaluation")} >= {
        "Value",
        "Difference",
    }
    index_number = next(p for p in problems if p.what.startswith("model-index"))
    assert "0.123456" in index_number.what
    assert "value:" in built.card(CELL).read_text().split("\n")[index_number.line - 1]


def test_changed_base_model_is_named_in_every_card_that_compares_with_it(built):
    built.change_value(BASE, "nq_tiny", 0.5)
    others = [
        p for p in found(built) if p.path not in (f"cells/{BASE}/README.md", f"cells/{BASE}/figures/evaluation.svg")
    ]
    cards = {p.path for p in others if "Base model" in p.what}
    assert len(cards) == 8
    assert all(p.row["base"] for p in others if "Base model" in p.what)


def test_changed_median_is_named_in_other_cards(built):
    built.change_value(CELL, "arc_tiny", 1.0)
    texts = [p.what for p in found(built, f"cells/{OTHER}/README.md")]
    assert all("Grid median" in text for text in texts) and texts


def test_figures_that_show_old_numbers_are_named(built):
    built.change_value(CELL, "arc_tiny", 0.9999)
    stale = {p.path for p in found(built) if p.code == "figure-stale"}
    assert f"cells/{CELL}/figures/evaluation.svg" in stale and "index/figures/heatmap.svg" in stale


def test_number_edited_by_hand_is_told_apart_from_a_stale_one(built):
    text = built.card(CELL).read_text()
    shown = re.search(r"\| arc_tiny \| 0 \| acc \| \*\*([\d.]+)\*\*", text).group(1)
    edit(built.card(CELL), f"**{shown}**", "**0.9999**")
    (problem,) = found(built)
    assert problem.code == "number-edited" and problem.shown == "0.9999" and problem.now == shown


def test_number_edited_in_the_model_index_is_named(built):
    text = built.card(CELL).read_text()
    value = re.search(r"value: ([\d.]+)", text).group(1)
    edit(built.card(CELL), f"value: {value}", "value: 0.99")
    (problem,) = found(built)
    assert problem.code == "number-edited" and problem.shown == "0.99" and problem.now == value
    assert "0.99" in built.card(CELL).read_text().split("\n")[problem.line - 1]


def test_record_edited_to_match_an_edited_number_does_not_hide_it(built):
    text = built.card(CELL).read_text()
    shown = re.search(r"\| arc_tiny \| 0 \| acc \| \*\*([\d.]+)\*\*", text).group(1)
    built.card(CELL).write_text(text.replace(f"**{shown}**", "**0.9999**"))
    assert [p.shown for p in found(built) if p.what.startswith("evaluation")] == ["0.9999"]


def test_any_digit_changed_anywhere_in_a_card_is_reported_on_its_line(built):
    path, fresh = f"cells/{CELL}/README.md", built.card(CELL).read_text()
    record = fresh.rfind("<!-- release_kit:trace")
    places = [match.start() for match in re.finditer(r"\d", fresh)]
    for at in random.Random(0).sample(places, 300):
        changed = fresh[:at] + str((int(fresh[at]) + 1) % 10) + fresh[at + 1 :]
        problems = compare_card(path, changed, fresh)
        assert problems, fresh[at - 40 : at + 40]
        if at < record:
            assert changed.count("\n", 0, at) + 1 in {problem.line for problem in problems}


def test_row_that_is_gone_from_the_results_leaves_a_number_without_source(built):
    cell_id = next(cell.cell_id for cell in built.inputs().cells if cell.name == CELL)
    built.change_results(lambda row: None if (row.cell_id, row.benchmark) == (cell_id, "nq_tiny") else row)
    codes = {(p.code, p.what.split(":")[0]) for p in found(built, f"cells/{CELL}/README.md")}
    assert {("number-without-source", "evaluation"), ("number-without-source", "model-index")} <= codes


def test_new_result_is_missing_in_the_card(built):
    def also_five_shot(row):
        return dataclasses.replace(row, n_shot=5)

    rows = list(built.inputs().results)
    extra = [also_five_shot(row) for row in rows if row.benchmark == "arc_tiny"]
    write_results(built.study.folder / RESULTS_FILE, rows + extra)
    texts = [p.what for p in found(built, f"cells/{CELL}/README.md") if p.code == "number-missing"]
    assert any("arc_tiny · 5 · acc, Value" in text for text in texts)


def test_same_numbers_from_another_place_are_a_warning(built):
    built.change_results(lambda row: dataclasses.replace(row, source_key="/elsewhere"))
    report = check_cards(built.inputs())
    assert {p.code for p in report.problems} == {"source-changed"} and report.ok


def test_missing_and_extra_cards_are_named(built):
    built.card(CELL).unlink()
    stray = built.release / "cells" / "nobody" / "README.md"
    stray.parent.mkdir()
    stray.write_text("# nobody\n")
    assert {(p.code, p.path) for p in found(built)} == {
        ("card-missing", f"cells/{CELL}/README.md"),
        ("card-extra", "cells/nobody/README.md"),
    }


def test_text_edited_outside_the_hand_written_sections_is_named(built):
    edit(built.card(CELL), "An adapter for", "The best adapter for")
    (problem,) = found(built)
    assert problem.code == "text-edited" and "best adapter" in problem.what


def test_study_changed_since_the_cards_were_made_is_named_by_key_and_text(built):
    edit(built.study.folder / "study.yaml", "license: apache-2.0\nlanguages", "license: mit\nlanguages")
    edit(built.study.folder / "study.yaml", "title: A tiny grid", "title: Another grid")
    problems = found(built, f"cells/{CELL}/README.md")
    assert {p.code for p in problems} == {"metadata-stale", "text-stale"}
    assert any("`license` is 'apache-2.0', but the study now gives 'mit'" in p.what for p in problems)


def test_card_of_somebody_else_and_broken_cards_are_named(built):
    built.card(CELL).write_text("# my own card\n")
    built.card(OTHER).write_bytes(b"\xff\xfe broken")
    edit(built.card(BASE), "<!-- /release_kit:hand-written -->", "")
    codes = {p.path: p.code for p in found(built)}
    assert codes == {
        f"cells/{CELL}/README.md": "card-foreign",
        f"cells/{OTHER}/README.md": "card-unreadable",
        f"cells/{BASE}/README.md": "markers-broken",
    }


def test_damaged_record_is_named_not_raised(built):
    edit(built.card(CELL), '"numbers":{', '"numbers":[{')
    edit(built.card(OTHER), '"rows":[[', '"rows":[[7],[')
    assert {p.code for p in found(built)} == {"card-unreadable"}


def test_hand_written_words_do_not_count_as_changes(built):
    slot = "<!-- release_kit:hand-written notes -->\n"
    edit(built.card(CELL), slot, f"{slot}Seen to fail on 7 of 12 prompts.\n\n| arc_tiny | 0 | acc | **0.1** |\n")
    assert found(built) == []


def test_problems_are_sorted_and_serialise(built):
    built.change_value(BASE, "arc_tiny", 0.25)
    problems = check_cards(built.inputs()).problems
    assert list(problems) == sorted(problems, key=lambda p: p.order)
    assert json.loads(json.dumps([p.to_dict() for p in problems]))[0]["severity"] in ("error", "warning")


def test_diff_shows_exactly_the_changed_lines_without_the_record(built):
    built.change_value(CELL, "arc_tiny", 0.5)
    changes = {path: diff_text(path, old, new) for path, old, new in changed_cards(built.inputs())}
    diff = changes[f"cells/{CELL}/README.md"]
    removed = [line for line in diff.split("\n") if line.startswith("-|")]
    assert len(removed) >= 1 and all("arc_tiny" in line for line in removed) and "release_kit:trace" not in diff


def test_rebuilding_after_new_results_makes_the_cards_follow_again(built):
    path = built.study.folder / "cells" / built.inputs().cells[0].cell_id / "eval" / "arc_tiny.json"
    edit(path, '"acc,none": 0.', '"acc,none": 0.0')
    build_release(built.study)
    assert found(built) == []
