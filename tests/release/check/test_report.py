"""What becomes of problems: allowances, order, the registry, and the documents that list the codes."""

import json
import re
import shutil
from pathlib import Path

import pytest
from study_factory import change_json, change_study, find_cell

from release_kit.core.errors import UsageError
from release_kit.release.check import CODES, FAMILIES, check_study, explain
from release_kit.release.check.licence import TERMS
from release_kit.release.check.problem import ERROR, NOTE, SEVERITIES
from release_kit.release.check.run import apply_allowances
from release_kit.release.check.sarif import sarif_bytes
from release_kit.release.check.text import report_text

ROOT = Path(__file__).parents[3]
LIMA = "base_model=tiny-llama dataset=lima method=full seed=1"


def copied(make_study):
    study = make_study()
    one, two = (find_cell(study, dataset="lima", method="full", seed=seed) / "model" for seed in (0, 1))
    shutil.copy(one / "model.safetensors", two)
    return study


@pytest.mark.parametrize("where", [None, LIMA, "*dataset=lima*", "cells/*/model/model.safetensors"])
def test_accepted_problem_is_a_note_with_its_reason(make_study, only, where):
    entry = {"code": "payload-identical-file", "reason": "both seeds were averaged"}
    study = change_study(copied(make_study), allow=[entry if where is None else {**entry, "where": where}])
    (found,) = only(study, "payload-identical-file", LIMA, severity=NOTE)
    assert found.reason == "both seeds were averaged"
    report = check_study(study)
    assert report.is_good(strict=True)
    assert "accepted: both seeds were averaged" in report_text(report)


def test_allowance_of_another_place_leaves_the_error_and_is_reported_itself(make_study):
    entry = {"code": "payload-identical-file", "where": "*dataset=alpaca*", "reason": "…"}
    report = check_study(change_study(copied(make_study), allow=[entry]))
    assert [each.code for each in report.problems] == ["payload-identical-file", "allow-unused"]
    assert not report.is_good()


def test_allowance_that_matches_nothing(make_study, only):
    study = change_study(make_study(), allow=[{"code": "pickle", "reason": "none left"}])
    (found,) = only(study, "allow-unused", "study.yaml: allow[[]0]", severity="warning")
    assert "no pickle was found" in found.what
    assert check_study(study).is_good() and not check_study(study).is_good(strict=True)


def test_allowance_of_a_code_that_does_not_exist(make_study, only):
    study = change_study(make_study(), allow=[{"code": "pickles", "reason": "misspelt"}])
    (found,) = only(study, "allow-unknown", "study.yaml: allow[[]0]", severity="warning")
    assert "did you mean 'pickle'?" in found.what


def test_two_allowances_of_one_problem_are_both_used():
    from release_kit.release.check.codes import problem

    entries = [{"code": "pickle", "where": None, "reason": "one"}, {"code": "pickle", "where": "a*", "reason": "two"}]
    (found,) = apply_allowances([problem("pickle", "abc", "is a pickle")], entries)
    assert (found.severity, found.reason) == (NOTE, "one")


def test_everything_wrong_is_reported_at_once_and_in_order(make_study):
    study = copied(make_study)
    folder = find_cell(study, dataset="alpaca", method="full", seed=0)
    (folder / "model" / "run.sh").write_text("#!/bin/sh\n")
    change_json(folder / "model" / "trainer_state.json", seed=7)
    change_json(folder / "model" / "config.json", vocab_size=17)
    shutil.rmtree(find_cell(study, dataset="alpaca", method="lora", seed=1))
    report = check_study(change_study(study, license=None))
    codes = [each.code for each in report.problems]
    assert codes == [
        "cell-missing", "payload-identical-file", "label-seed", "shape-contradicts-config", "script", "licence-missing",
    ]  # fmt: skip
    assert report.n_missing == 1 and report.n_declared == 9 and report.n_cells == 8


def test_json_names_code_severity_place_content_and_next_step(make_study):
    value = json.loads(json.dumps(check_study(copied(make_study)).to_dict()))
    assert value["ok"] is False and value["counts"] == {"error": 1, "warning": 0, "note": 0}
    assert value["codes"] == {"payload-identical-file": 1}
    assert {"code", "severity", "where", "what", "next_step", "cell_id", "path"} == set(value["problems"][0])


def test_sarif_points_at_files_and_marks_what_is_accepted(make_study):
    study = copied(make_study)
    (find_cell(study, dataset="lima", method="full", seed=0) / "model" / "run.sh").write_text("")
    report = check_study(change_study(study, allow=[{"code": "script", "reason": "harmless"}]))
    run = json.loads(sarif_bytes(report))["runs"][0]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert [rules[result["ruleIndex"]] for result in run["results"]] == [each.code for each in report.problems]
    assert [result["level"] for result in run["results"]] == ["error", "note"]
    uris = [result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for result in run["results"]]
    assert all((study.folder / uri).is_file() for uri in uris)
    assert run["results"][1]["suppressions"] == [{"kind": "external", "justification": "harmless"}]
    assert sarif_bytes(report) == sarif_bytes(check_study(change_study(study)))


def test_long_lists_are_cut_unless_everything_is_asked_for(make_study):
    study = make_study(seeds=tuple(range(12)), benchmarks=(), with_base=False)
    for seed in range(12):
        (find_cell(study, dataset="lima", method="full", seed=seed) / "model" / "run.sh").write_text("")
    report = check_study(study)
    assert len(report.problems) == 12
    short, long = report_text(report), report_text(report, everything=True)
    assert short.count("run.sh") == 8 and "… and 4 more (--all lists them)" in short
    assert long.count("run.sh") == 12
    assert long.splitlines()[-1].startswith("tiny-grid 1.0.0: refused, 12 errors")


def test_every_code_has_a_family_a_severity_and_words():
    for name, code in CODES.items():
        assert re.fullmatch(r"[a-z]+(-[a-z]+)+|pickle|script|secret", name)
        assert code.family in FAMILIES and code.severity in SEVERITIES
        assert code.summary.endswith(".") and code.why.endswith(".") and not code.next_step.endswith(".")
        assert name in explain(name) and code.next_step in explain(name)


def test_unknown_code_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'cell-missing'"):
        explain("cell-mising")


def test_every_code_is_planted_by_a_test():
    sources = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py") if path != Path(__file__))
    planted = set(re.findall(r'"([a-z]+(?:-[a-z]+)*)"', sources + Path(__file__).read_text()))
    assert set(CODES) - planted == set()


def test_document_lists_exactly_the_codes_of_the_registry():
    text = (ROOT / "docs" / "checks.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \| (error|warning|note) \| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    expected = [(c.name, c.severity, c.summary, c.why) for c in CODES.values()]
    assert rows == expected


def test_document_lists_the_licences_that_are_judged():
    text = (ROOT / "docs" / "checks.md").read_text(encoding="utf-8")
    for terms in TERMS:
        bases = ", ".join(f"`{name}`" for name in sorted(terms.bases))
        allowed = ", ".join(f"`{name}`" for name in sorted(terms.allowed or ())) or "nothing"
        allowed = "the same, or `other`" if terms.allowed is None else allowed
        assert f"| {bases} | {allowed} | {terms.says} |" in text


def test_errors_come_before_warnings_within_a_family(make_study):
    study = copied(make_study)
    shutil.rmtree(study.folder / "bases")
    severities = [each.severity for each in check_study(study).problems if each.family == "payloads"]
    assert severities == sorted(severities, key=SEVERITIES.index) and ERROR in severities
