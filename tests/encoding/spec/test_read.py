"""An analysis is read by its grammar: defaults are filled in, everything wrong is said at once, with its line."""

from dataclasses import fields, replace
from pathlib import Path

import pytest

from release_kit.encoding.errors import AnalysisError
from release_kit.encoding.features import spec
from release_kit.encoding.features.spec import FeatureSpec
from release_kit.encoding.pipeline.choices import choices_of
from release_kit.encoding.pipeline.designs import spec_of
from release_kit.encoding.spec.grammar import FEATURE
from release_kit.encoding.spec.model import DTYPES, SETTINGS, WEIGHTINGS, settings_of
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
        ("kind: bag-of-words,", "kind: bag-of-words, batch_size: 8,", "`features.story-words.batch_size` is of no use"),
        ("context_s: 8", "min_count: 3", "leave it out: it is for bag-of-words"),
        ("context_s: 8", "max_tokens: 2", "`features.story-lm.max_tokens` is 2, expected 3 or more"),
        ("context_s: 8", "dtype: float8", "`features.story-lm.dtype` is 'float8'"),
        ("name: films", "name: films\nflatmaps: {'01': {transform: full}}", "`flatmaps.01.surface` is missing"),
        (
            "name: films",
            "name: films\nsubjects: ['01']\nflatmaps: {'02': {surface: S2}}",
            "`flatmaps.02` is no subject of this analysis",
        ),
        ("name: films", "name: films\nsamples: {repeats: both}", "`samples.repeats` is 'both'"),
        ("layers: [0, 6]", "layers: [0, -6]", "`features.story-lm.layers[1]` is -6, expected 0 or more"),
    ],
)
def test_a_mistake_is_named_with_what_to_do(old: str, new: str, said: str):
    assert old in TEXT
    found = problems_of(TEXT.replace(old, new))
    assert any(said in line for line in found), found


def test_settings_of_a_feature_reach_what_makes_it(tmp_path: Path):
    text = (
        TEXT.replace("context_s: 8", "start_token: false, max_tokens: 64, dtype: bfloat16, device: cuda, batch_size: 4")
        .replace("pca: 50", "min_count: 3, max_words: 10, weighting: count")
        .replace("name: films", "name: films\nflatmaps: {'01': {surface: S1, transform: full}, '02': {surface: S2}}")
    )
    analysis = parse_analysis(text, file=tmp_path / "encoding.yaml")
    choices = choices_of(analysis, "corrected")
    model, words = (spec_of(use, choices) for use in analysis.features.values())
    assert (model.start_token, model.max_tokens, model.dtype, model.device) == (False, 64, "bfloat16", "cuda")
    assert (model.batch_size, words.min_count, words.max_words, words.weighting) == (4, 3, 10, "count")
    flat = analysis.flatmaps
    assert (flat["01"].surface, flat["01"].transform, flat["02"].transform) == ("S1", "full", None)


def test_what_is_not_said_of_a_feature_is_what_its_maker_takes():
    known = {field.name: field.default for field in fields(FeatureSpec)}
    for name in (*SETTINGS, "pooling", "context_s", "missing"):
        assert FEATURE[name].default == known[name], name
    assert known["dtype"] in DTYPES and set(DTYPES) == set(spec.DTYPES) and set(WEIGHTINGS) == set(spec.WEIGHTINGS)


def test_a_setting_is_in_the_key_of_features_where_it_changes_values(tmp_path: Path):
    analysis = parse_analysis(TEXT, file=tmp_path / "encoding.yaml")
    choices = choices_of(analysis, "corrected")
    other = {"start_token": False, "max_tokens": 9, "dtype": "float16", "device": "cuda", "batch_size": 3,
             "min_count": 7, "max_words": 8, "weighting": "count"}  # fmt: skip
    assert set(other) == set(SETTINGS)
    for use in analysis.features.values():
        said = spec_of(use, choices).identity()
        for name in settings_of(use.kind):
            assert spec_of(replace(use, **{name: other[name]}), choices).identity() != said, name
        # The size of a model is a factor of tables, components are taken after the store.
        assert spec_of(replace(use, n_parameters=5, pca=3), choices).identity() == said


def test_a_file_that_is_not_there_says_what_to_name(tmp_path: Path):
    with pytest.raises(AnalysisError, match=r"no analysis can be read here .* name an encoding.yaml"):
        read_analysis(tmp_path)


@pytest.mark.parametrize("n", [1, 9])
def test_so_few_resamples_that_no_interval_comes_of_them_are_refused(n: int):
    (found,) = problems_of(TEXT + f"statistics: {{bootstrap: {n}}}\n")
    assert f"`statistics.bootstrap` is {n}, no interval" in found and "0 for no intervals, or at least 10" in found


@pytest.mark.parametrize("n", [0, 10])
def test_no_resamples_or_enough_of_them_are_taken(n: int):
    analysis = parse_analysis(TEXT + f"statistics: {{bootstrap: {n}}}\n", file=Path("study/encoding.yaml"))
    assert analysis.statistics.bootstrap == n
