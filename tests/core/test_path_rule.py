"""Rules from paths to levels: matched against declared levels, never guessed."""

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from release_kit.core.errors import RecordError
from release_kit.core.path_rule import explain_mismatch, find_matches, natural_key, parse_written, path_rule_from
from release_kit.core.records import Fields
from release_kit.core.study import Study, parse_study

FACTORS = {"model": ["smol", "smol-lm", "org/big"], "dataset": ["lima", "lima-seed", "x"], "seed": [0, 1, 10]}


def make_study(folder: Path, factors=None) -> Study:
    document = {"schema_version": 1, "name": "s", "version": "1", "factors": factors or FACTORS}
    return parse_study(yaml.safe_dump(document, sort_keys=False), folder=folder)


def rule_of(study: Study, **entry):
    fields = Fields(entry, "study.yaml", "checkpoints[0]")
    rule = path_rule_from(fields, study)
    fields.done()
    return rule


def matched(study, *, folders=True, **entry):
    """Return ({path: levels as a tuple}, problems)."""
    matches, problems = find_matches(rule_of(study, **entry), study.folder, folders=folders)
    return {match.path: tuple(match.levels.values()) for match in matches}, problems


def make(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).mkdir(parents=True, exist_ok=True)


def test_levels_that_contain_the_separator_are_told_apart(tmp_path):
    make(tmp_path, "runs/smol-lm-lima-seed-s0", "runs/smol-lima-s10", "runs/smol-lm-x-s1", "runs/smol-lima-s2")
    found, problems = matched(make_study(tmp_path), path="runs/{model}-{dataset}-s{seed}")
    assert problems == []
    assert found == {
        "runs/smol-lm-lima-seed-s0": ("smol-lm", "lima-seed", 0),
        "runs/smol-lima-s10": ("smol", "lima", 10),
        "runs/smol-lm-x-s1": ("smol-lm", "x", 1),
    }


def test_a_path_that_can_be_read_in_two_ways_is_refused(tmp_path):
    study = make_study(tmp_path, {"a": ["x", "x-y"], "b": ["y-z", "z"]})
    make(tmp_path, "runs/x-y-z", "runs/x-z")
    found, (problem,) = matched(study, path="runs/{a}-{b}")
    assert found == {"runs/x-z": ("x", "z")}
    assert problem.where == "runs/x-y-z"
    assert "two ways: a=x b=y-z or a=x-y b=z" in problem.what


def test_a_level_with_a_slash_is_two_folders_or_has_its_own_text(tmp_path):
    study = make_study(tmp_path)
    make(tmp_path, "runs/org/big/x/0", "runs/org--big/x/1", "runs/org/other/x/1")
    values = {"model": {"org--big": "org/big"}}
    found, _ = matched(study, path="runs/{model}/{dataset}/{seed}", values=values)
    assert found == {"runs/org/big/x/0": ("org/big", "x", 0), "runs/org--big/x/1": ("org/big", "x", 1)}


def test_star_stays_in_one_folder_and_double_star_does_not(tmp_path):
    study = make_study(tmp_path)
    fixed = {"levels": {"model": "smol", "seed": 0}}
    make(tmp_path, "runs/lima/checkpoint-10", "runs/lima/a/checkpoint-9", "runs/x/a/b/checkpoint-1", "runs/lima/other")
    found, _ = matched(study, path="runs/{dataset}/checkpoint-*", **fixed)
    assert list(found) == ["runs/lima/checkpoint-10"]
    found, _ = matched(study, path="runs/{dataset}/**/checkpoint-*", **fixed)
    assert set(found) == {"runs/lima/checkpoint-10", "runs/lima/a/checkpoint-9", "runs/x/a/b/checkpoint-1"}
    found, _ = matched(study, path="**/{dataset}/*", **fixed)
    assert set(found) == {"runs/lima/checkpoint-10", "runs/lima/a", "runs/lima/other", "runs/x/a"}


def test_a_factor_that_stands_twice_must_agree(tmp_path):
    make(tmp_path, "runs/lima/smol-lima-0", "runs/lima/smol-x-0")
    found, _ = matched(make_study(tmp_path), path="runs/{dataset}/{model}-{dataset}-{seed}")
    assert found == {"runs/lima/smol-lima-0": ("smol", "lima", 0)}


def test_files_and_folders_are_not_confused(tmp_path):
    make(tmp_path, "runs/lima")
    (tmp_path / "runs" / "x").write_text("")
    fixed = {"path": "runs/{dataset}", "levels": {"model": "smol", "seed": 0}}
    assert list(matched(make_study(tmp_path), **fixed)[0]) == ["runs/lima"]
    assert list(matched(make_study(tmp_path), folders=False, **fixed)[0]) == ["runs/x"]


def test_links_that_leave_the_study_need_a_word(tmp_path):
    study_folder, scratch = tmp_path / "study", tmp_path / "scratch"
    make(study_folder, "runs", "kept/lima")
    make(scratch, "x")
    (study_folder / "runs" / "x").symlink_to(scratch / "x")
    (study_folder / "runs" / "lima").symlink_to(study_folder / "kept" / "lima")
    (study_folder / "runs" / "lima-seed").symlink_to(tmp_path / "nothing", target_is_directory=True)
    entry = {"path": "runs/{dataset}", "levels": {"model": "smol", "seed": 0}}
    found, problems = matched(make_study(study_folder), **entry)
    assert list(found) == ["runs/lima"]
    assert [problem.where for problem in problems] == ["runs/lima-seed", "runs/x"]
    assert "`follow_links: true`" in problems[1].next_step
    found, problems = matched(make_study(study_folder), **entry, follow_links=True)
    assert list(found) == ["runs/lima", "runs/x"]
    assert ["link to nothing" in problem.what for problem in problems] == [True]


def test_a_loop_of_links_ends(tmp_path):
    make(tmp_path, "runs/lima")
    (tmp_path / "runs" / "again").symlink_to(tmp_path / "runs")
    entry = {"path": "**/{dataset}", "levels": {"model": "smol", "seed": 0}}
    assert list(matched(make_study(tmp_path), **entry)[0]) == ["runs/lima"]


def test_numbers_in_names_are_in_the_order_of_numbers():
    names = ["step-10", "step-9", "step", "a", "9", "step-10-x"]
    assert sorted(names, key=natural_key) == ["9", "a", "step", "step-9", "step-10", "step-10-x"]


WRONG = [
    ({"path": "runs/{modle}"}, "`checkpoints[0].path` names {modle}, which is no factor; did you mean 'model'?"),
    ({"path": "runs/{model}-{dataset}"}, "says nothing of seed; put {seed} into the path"),
    ({"path": "../{model}-{dataset}-{seed}"}, "expected a path inside the study folder"),
    ({"path": "/runs/{model}-{dataset}-{seed}"}, "expected a path inside the study folder"),
    ({"path": "{model}/{dataset}/{seed}/**"}, "'**' without a '/' behind it"),
    ({"path": "{model}/{dataset}", "levels": {"seed": 5}}, "`checkpoints[0].levels.seed` is 5, not a declared level"),
    ({"path": "{model}/{dataset}", "levels": {"seed": "0"}}, "is '0', not a declared level; the declared level is 0"),
    ({"path": "{model}/{dataset}", "levels": {"sead": 0}}, "did you mean 'seed'?"),
    ({"path": "{model}/{dataset}/{seed}", "levels": {"seed": 0}}, "stands in the path too"),
    ({"path": "{model}/{dataset}/{seed}", "values": {"modl": {}}}, "did you mean 'model'?"),
    ({"path": "{model}/{dataset}/{seed}", "values": {"model": {"b": "bg"}}}, "`checkpoints[0].values.model.b` is 'bg'"),
    ({"path": "{model}/{dataset}/{seed}", "folow_links": True}, "did you mean 'follow_links'?"),
    ({"path": 3}, "`checkpoints[0].path` expected str, got int"),
]


@pytest.mark.parametrize(("entry", "part"), WRONG, ids=[part[:40] for _, part in WRONG])
def test_each_mistake_in_a_rule_is_named(entry, part):
    with pytest.raises(RecordError) as caught:
        rule_of(make_study(Path(".")), **entry)
    assert part in str(caught.value)


def test_why_a_folder_does_not_follow_a_rule():
    rule = rule_of(make_study(Path(".")), path="runs/{model}/{dataset}-seed{seed}/checkpoint-*")
    explained = explain_mismatch(rule, "runs/smol/limo-seed0/checkpoint-3")
    assert explained == "dataset has no level 'limo'; did you mean 'lima'?"
    assert explain_mismatch(rule, "runs/smol").startswith("does not follow")


LEVELS = st.lists(st.text("ab-/", min_size=1, max_size=4).filter(lambda t: not re.search(r"^/|/$|//", t)),
                  min_size=1, max_size=4, unique=True)  # fmt: skip


@given(LEVELS, LEVELS, st.sampled_from(["runs/{x}-{y}", "{x}/{y}", "{x}{y}/m", "p-{x}/**/{y}"]), st.data())
@settings(max_examples=60)
def test_every_reading_of_a_path_is_found(tmp_path_factory, xs, ys, text, data):
    """Against a plain search: fill the rule with all pairs of levels and look which give this path."""
    folder = tmp_path_factory.mktemp("walk")
    study = make_study(folder, {"x": xs, "y": ys})
    x, y = data.draw(st.sampled_from(xs)), data.draw(st.sampled_from(ys))
    path = text.replace("**/", data.draw(st.sampled_from(["", "a/", "a/b/"]))).format(x=x, y=y)
    make(folder, path)
    readings = set()
    for a in xs:
        for b in ys:
            regex = re.escape(text).replace(re.escape("**/"), "(?:[^/]+/)*")
            regex = regex.replace(re.escape("{x}"), re.escape(a)).replace(re.escape("{y}"), re.escape(b))
            if re.fullmatch(regex, path):
                readings.add((a, b))
    found, problems = matched(study, path=text)
    if len(readings) == 1:
        assert found.get(path) == next(iter(readings))
    else:
        assert path not in found
        assert [problem.where for problem in problems if problem.where == path] == [path]


def test_texts_stand_for_levels_as_numbers_and_booleans_in_any_case():
    texts = {"1000": 1000, "0.5": 0.5, "true": True, "none": "none"}
    written = ["1000", "1000.0", "1e3", "0.50", "True", "TRUE", "none"]
    assert [parse_written(text, texts) for text in written] == [1000, 1000, 1000, 0.5, True, True, "none"]
    assert [parse_written(text, texts) for text in ("1001", "None", "", "1", "nan", "false")] == [None] * 6
