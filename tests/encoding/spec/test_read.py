"""An analysis is read by its grammar: defaults are filled in, everything wrong is said at once, with its line."""

from pathlib import Path

import pytest

from release_kit.encoding.errors import AnalysisError
from release_kit.encoding.spec.read import AnalysisFileError, parse_analysis, read_analysis

TEXT = """\
schema_version: 1
name: films
dataset: {path: ../dataset, derivative: clean, kind: surface}
features:
  story-lm: {level: story, kind: causal, model: models/lm, layers: [0, 6], context_s: 8}
  story-words: {level: story, kind: bag-of-words, pca: 50}
bands: {both: {features: [story-lm, story-words]}}
compare: [{name: the model against words, a: story-lm, b: story-words}]
ridge: {alphas: {from: -1, to: 1, n: 3}}
"""


def problems_of(text: str) -> list[str]:
    with pytest.raises(AnalysisFileError) as caught:
        parse_analysis(text, file=Path("study/encoding.yaml"))
    return [problem.sentence() for problem in caught.value.problems]


def test_what_is_said_is_kept_and_the_rest_has_defaults(tmp_path: Path):
    (tmp_path / "encoding.yaml").write_text(TEXT, encoding="utf-8")
    analysis = read_analysis(tmp_path)
    assert analysis.folder == tmp_path
    assert analysis.dataset.path == tmp_path / "../dataset"
    assert (analysis.dataset.kind, analysis.dataset.layout) == ("surface", "bids")
    assert analysis.features["story-lm"].model == tmp_path / "models/lm"
    assert analysis.features["story-lm"].layers == (0, 6)
    assert (analysis.features["story-words"].pca, analysis.features["story-words"].missing) == (50, "zero")
    assert analysis.ridge.alphas == pytest.approx((0.1, 1, 10))
    assert analysis.delays.seconds == (4, 6, 8)
    assert (analysis.samples.test, analysis.samples.drop_start_s, analysis.samples.n_folds) == ("last-run", 20, None)
    assert (analysis.statistics.permutations, analysis.statistics.block_s) == (1000, 40)
    assert analysis.bands["both"].unions == "all" and analysis.mode == "corrected"


def test_everything_wrong_is_said_at_once_by_line():
    text = (
        TEXT.replace("context_s: 8", "contxt_s: 8, pooling: max")
        .replace("name: films", "nam: films")
        .replace("kind: surface", "kind: sphere")
        + "samples: {drop_start_s: -1}\n"
    )
    found = problems_of(text)
    assert [line.split(":")[1] for line in found] == ["1", "2", "3", "5", "5", "10"]
    joined = "\n".join(found)
    for said in (
        "`name` is missing",
        "`nam` is not a known key — did you mean 'name'?",
        "`dataset.kind` is 'sphere'",
        "`features.story-lm.contxt_s` is not a known key — did you mean 'context_s'?",
        "`features.story-lm.pooling` is 'max'",
        "`samples.drop_start_s` is -1, expected 0 or more",
    ):
        assert said in joined, joined


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("a: story-lm", "a: story-ln", "`compare[0].a` names no feature: 'story-ln' — did you mean 'story-lm'?"),
        ("b: story-words", "b: story-lm", "is the feature itself"),
        ("[story-lm, story-words]}", "[story-lm, story-lm]}", "names a feature twice"),
        ("model: models/lm, ", "", "`features.story-lm.model` is missing"),
        ("kind: bag-of-words,", "kind: bag-of-words, model: x,", "a bag of words has none"),
        ("kind: bag-of-words,", "kind: bag-of-words, layers: [1],", "knows neither"),
        (
            "kind: bag-of-words,",
            "kind: bag-of-words, annotators: [each],",
            "`compare[0].b` names 'story-words', which is",
        ),
        ("{level: story, kind: bag", "{kind: bag", "name the level of annotations"),
        ("kind: bag-of-words", "kind: audio, model: m", "`features.story-words.media` is missing"),
        ("from: -1, to: 1", "from: 1, to: -1", "they grow, from -12 to 15"),
        ("schema_version: 1", "schema_version: 2", "this release_kit reads 1; update release_kit"),
        ("name: films", "name: films\nsamples: {test: titles}", "`samples.test_titles` belongs to `test: titles`"),
        ("name: films", "name: films\nsamples: {test_last: {a: 0}}", "expected a whole number from 1"),
        ("name: films", "name: films\nsubjects: [sub-01]", "write labels without sub-"),
        ("name: films", "name: films\nstatistics: {level: 1}", "is 1 or more"),
        ("layers: [0, 6]", "layers: [0, -6]", "`features.story-lm.layers[1]` is -6, expected 0 or more"),
    ],
)
def test_a_mistake_is_named_with_what_to_do(old: str, new: str, said: str):
    assert old in TEXT
    found = problems_of(TEXT.replace(old, new))
    assert any(said in line for line in found), found


def test_a_file_that_is_not_there_says_what_to_name(tmp_path: Path):
    with pytest.raises(AnalysisError, match=r"no analysis can be read here .* name an encoding.yaml"):
        read_analysis(tmp_path)
