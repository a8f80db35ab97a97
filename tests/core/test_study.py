"""``study.yaml``: strict reading, with the dotted key and the nearest known name."""

from pathlib import Path

import pytest
import yaml

from release_kit.core.errors import RecordError, StudyError
from release_kit.core.study import parse_study, read_study

MINIMAL = {"schema_version": 1, "name": "s", "version": "1.0", "factors": {"dataset": ["lima", "alpaca"]}}


def parse(**changes):
    document = {key: value for key, value in (MINIMAL | changes).items() if value is not ...}
    return parse_study(yaml.safe_dump(document, sort_keys=False), folder=Path("here"), where="study.yaml")


def test_smallest_study():
    study = parse()
    assert (study.name, study.version, study.artifacts) == ("s", "1.0", "weights")
    assert study.factor("dataset").levels == ("lima", "alpaca")
    assert study.factor_with_role("dataset").name == "dataset"
    assert study.factor_with_role("step") is None


def test_seeds_are_a_factor():
    study = parse(seeds=[0, 1])
    assert study.factor("seed").levels == (0, 1)
    assert study.factor("seed").role == "seed"


def test_what_is_known_of_levels_and_roles():
    study = parse(factors={"model": {"role": "base_model", "levels": {"m": {"license": "mit"}, "n": None}}})
    assert study.factor("model").levels == ("m", "n")
    assert study.level_properties({"model": "m"}, "base_model") == {"license": "mit"}
    assert study.level_properties({"model": "n"}, "base_model") == {}
    assert study.level_properties({"model": "m"}, "dataset") == {}


def test_a_version_that_yaml_reads_as_a_number_is_refused():
    """``version: 1.10`` reaches us as 1.1, which is another version."""
    with pytest.raises(RecordError, match=r"`version` is the number 1.1; put it in quotes"):
        parse(version=1.10)
    assert parse(version=2).version == "2"


@pytest.mark.parametrize("version", ["../../x", "", "a b", "-1"])
def test_a_version_that_cannot_be_a_tag_is_refused(version):
    with pytest.raises(RecordError, match="`version` is"):
        parse(version=version)


WRONG = [
    ({"datasets": []}, "`datasets` is not a known key"),
    ({"titel": "x"}, "`titel` is not a known key; did you mean 'title'?"),
    ({"name": ...}, "`name` is missing"),
    ({"name": "a/b"}, "`name` is 'a/b'"),
    ({"name": 3}, "`name` expected str, got int"),
    ({"schema_version": 2}, "`schema_version` is 2"),
    ({"schema_version": True}, "`schema_version` expected int, got bool"),
    ({"factors": {}}, "`factors` is empty"),
    ({"factors": {"Dataset": ["a"]}}, "`factors.Dataset` is not a factor name"),
    ({"factors": {"dataset": []}}, "`factors.dataset` expected a list of levels"),
    ({"factors": {"dataset": [None]}}, "`factors.dataset[0]` is not a level"),
    ({"factors": {"dataset": [1, "1"]}}, "the level '1' stands twice"),
    ({"factors": {"dataset": {"levels": ["a"], "role": "datset"}}}, "did you mean 'dataset'?"),
    ({"factors": {"dataset": {"levels": ["a"], "rle": "x"}}}, "`factors.dataset.rle` is not a known key"),
    ({"factors": {"dataset": {"a": 3}}}, "`factors.dataset.a` expected a mapping"),
    ({"factors": {"seed": [1]}, "seeds": [1]}, "`seeds` and a factor named 'seed'"),
    ({"seeds": [True]}, "`seeds[0]` expected int, got bool"),
    ({"version": True}, "`version` expected str or int or float, got bool"),
    ({"seeds": [1.5]}, "`seeds[0]` expected int, got float"),
    ({"include": [{"datset": "lima"}]}, "`include[0].datset` is not a factor; did you mean 'dataset'?"),
    ({"exclude": [{}, {"dataset": ["limo"]}]}, "`exclude[1].dataset` has no level 'limo'; did you mean 'lima'?"),
    ({"baseline": {"dataset": "none"}}, "`baseline.dataset` has no level 'none'"),
    ({"results_only": [{"dataset": 1}]}, "`results_only[0].dataset` has no level 1"),
    ({"factors": {"size": [10]}, "exclude": [{"size": "10"}]}, "has no level '10'; the declared level is 10, which is"),
    ({"layout": "repo"}, "`layout`"),
    ({"artifacts": "none"}, "`artifacts` is 'none'"),
    ({"benchmarks": {"gsm8k": {"acc": {"range": [1, 0]}}}}, "`benchmarks.gsm8k.acc.range` is [1, 0]"),
    ({"benchmarks": {"gsm8k": {"acc": {"rnge": [0, 1]}}}}, "`benchmarks.gsm8k.acc.rnge` is not a known key"),
    ({"benchmarks": {"gsm8k": {"acc": {"range": [0, 1], "chance": 25}}}}, "`benchmarks.gsm8k.acc.chance` is 25"),
    ({"benchmarks": {"gsm8k": {"acc": {"chance": 0}}}}, "`benchmarks.gsm8k.acc.chance` is 0; expected"),
    ({"allow": [{"code": "x"}]}, "`allow[0].reason` is missing"),
    ({"name": "x\n"}, "`name` is 'x\\n'"),
    ({"factors": {"cell_id": ["a"]}}, "`factors.cell_id` is the name of a column"),
    ({"authors": "me"}, "`authors` expected list, got str"),
]


@pytest.mark.parametrize(("changes", "part"), WRONG, ids=[part[:40] for _, part in WRONG])
def test_each_mistake_is_named_with_its_key(changes, part):
    with pytest.raises(RecordError) as caught:
        parse(**changes)
    assert part in str(caught.value)
    assert str(caught.value).startswith("study.yaml: ")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a: [1\n", "not valid YAML"),
        ("- 1\n", "expected a mapping, got list"),
        ("", "expected a mapping, got null"),
        ("name: a\nname: b\n", "'name' stands twice"),
        ("? [1, 2]\n: x\n", "not valid YAML"),
        ("title: 2024-13-45\n", "month must be in 1..12"),
        ("a: " + "[" * 5000, "not valid YAML"),
        ("!!python/object/apply:os.system ['true']\n", "not valid YAML"),
    ],
)
def test_broken_yaml_is_refused(text, part):
    with pytest.raises(RecordError, match=r"study\.yaml") as caught:
        parse_study(text, folder=Path("."), where="study.yaml")
    assert part in str(caught.value)


def test_no_study_there_says_where_and_what_next(tmp_path):
    with pytest.raises(StudyError, match="No such file") as caught:
        read_study(tmp_path)
    assert caught.value.where == str(tmp_path / "study.yaml")
    assert "study.yaml" in caught.value.next_step
    (tmp_path / "study.yaml").write_bytes(b"name: \xff\n")
    with pytest.raises(StudyError, match="not UTF-8"):
        read_study(tmp_path)


def test_folder_and_file_name_the_same_study(tmp_path):
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(MINIMAL))
    assert read_study(tmp_path) == read_study(tmp_path / "study.yaml")


def test_asking_for_an_unknown_factor_names_the_nearest():
    with pytest.raises(StudyError, match="did you mean 'dataset'"):
        parse().factor("datset")
