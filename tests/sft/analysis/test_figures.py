"""Pictures of an analysis: same bytes again, plain SVG, doubts and holes drawn as such, nothing out of nothing."""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest
from analysis_records_factory import Made, drawn, estimate

from release_kit.core.pictures import Picture, marks, n_across, number_text, plain_svg, styled
from release_kit.sft.analysis.estimate import Metric
from release_kit.sft.analysis.figures import draw_pictures
from release_kit.sft.analysis.figures_gains import gain_pictures
from release_kit.sft.analysis.figures_pairs import verdict_picture
from release_kit.sft.analysis.figures_style import headline_metrics, interval_text, within_text
from release_kit.sft.analysis.records import Analysis, Findings


@pytest.fixture(scope="module")
def pictures():
    """Every picture of a small analysis, drawn once."""
    return {each.name: each for each in drawn()[1]}


def full_map(analysis: Analysis) -> Picture:
    """The heat map of full fine-tuning; one cell of it is missing."""
    return next(each for each in gain_pictures(analysis) if each.name.startswith("gains-full"))


def test_every_section_with_data_has_a_picture_with_a_name_of_its_own(pictures):
    assert {each.section for each in pictures.values()} == {
        "verdicts", "gains", "epochs", "transfer", "comparisons", "relations", "depth", "map", "components",
    }  # fmt: skip
    assert next(iter(pictures)) == "verdicts"
    assert {"gains-full-1000-cosine", "gains-lora-1000-cosine", "lora-full", "depth-all", "model-map"} <= set(pictures)


def test_svg_is_plain_and_well_formed_with_its_title(pictures):
    for each in pictures.values():
        text = each.svg.decode()
        root = ElementTree.fromstring(text)
        assert root.find("{http://www.w3.org/2000/svg}title").text == each.title
        for forbidden in ("style=", "<style", "<script", "<metadata", "http://www.w3.org/1999/xhtml"):
            assert forbidden not in text, (each.name, forbidden)
        assert each.png.startswith(b"\x89PNG") and b"Software" not in each.png[:400]
        assert len(each.title) > 20 and each.note.endswith(".")


def test_same_analysis_gives_the_same_bytes(pictures):
    with styled():
        again = {each.name: each for each in gain_pictures(drawn()[0])}
    assert len(again) == 4 and all(each == pictures[name] for name, each in again.items())


def test_base_in_doubt_and_missing_cell_are_hatched_apart():
    with styled():
        sound = full_map(Made(3, 4, 2, doubtful=False).analysis())
        doubted = full_map(Made(3, 4, 2).analysis())
    assert "in doubt" not in sound.note and "in doubt" in doubted.note
    assert "(3 bases, 4 datasets)" in sound.title and "(2 bases, 4 datasets)" in doubted.title
    hatches = [len(set(re.findall(r"url\(#(h[0-9a-f]+)", each.svg.decode()))) for each in (sound, doubted)]
    assert hatches == [1, 2]


def test_cells_that_differ_in_another_factor_have_heat_maps_of_their_own():
    made = Made(3, 4, 2, doubtful=False).analysis()
    effects = made.findings.effects
    both = (*effects, *(replace(each, others="rank=8") for each in effects))
    with styled():
        drawn_twice = list(gain_pictures(replace(made, findings=replace(made.findings, effects=both))))
    maps = {each.name: each.title for each in drawn_twice if each.section == "gains"}
    assert len(maps) == 4 and "rank=8" in maps["gains-lora-1000-cosine-rank-8"]


def test_share_of_improvements_in_the_title_is_that_of_the_gains():
    made = Made(3, 4, 2, doubtful=False).analysis()
    gains = [e.gain.value for e in made.findings.effects if e.method == "full"]
    with styled():
        picture = full_map(made)
    assert f"{100 * sum(g > 0 for g in gains) / len(gains):.0f} % of {len(gains)} gains" in picture.title


def test_verdict_without_an_estimate_is_counted_and_not_drawn():
    made = Made().analysis()
    with styled():
        assert verdict_picture(made).title == "5 claims: 2 hold, 1 do not, 2 cannot be told from these data"
        bare = tuple(replace(each, estimate=None) for each in made.findings.verdicts)
        assert verdict_picture(replace(made, findings=replace(made.findings, verdicts=bare))) is None


def test_empty_analysis_gives_no_picture():
    made = Made().analysis()
    empty = Findings(bases="sound", n_cells=0, n_runs=0, n_gains=0)
    assert draw_pictures(replace(made, findings=empty, beside=None, gains=(), map=None)) == []


def test_one_metric_a_benchmark_stands_for_it():
    def metric(benchmark: str, name: str, shots: int | None = 0) -> Metric:
        return Metric(benchmark=benchmark, metric=name, n_shot=shots)

    every = [
        metric("mmlu", "acc", 5),
        metric("mmlu", "acc"),
        metric("mmlu", "acc_norm"),
        metric("judge", "writing", None),
    ]
    assert headline_metrics(every) == [metric("judge", "writing", None), metric("mmlu", "acc_norm")]
    assert headline_metrics([*every, metric("judge", "total", None)])[0].metric == "total"


def test_colour_and_shape_of_a_name_do_not_hang_on_the_order():
    names = [f"base-{i}" for i in range(20)]
    assert marks(names) == marks(names[::-1])
    assert len(set(marks(names).values())) == 20


@pytest.mark.parametrize(("value", "shown"), [(-0.31, "\u22120.31"), (-0.001, "0.00"), (12.345, "12.35")])
def test_numbers_have_a_true_minus_and_no_negative_zero(value, shown):
    assert number_text(value) == shown


def test_words_of_a_picture():
    assert interval_text(estimate(0.5, 0.25)) == "0.50 [0.25, 0.75]" and interval_text(estimate(0.5)) == "0.50"
    assert within_text("method=full data_size=1000") == within_text("full, 1000") == "full, 1,000 examples"
    assert [n_across(n, 4) for n in (1, 2, 3, 4, 5, 11, 13)] == [1, 2, 3, 4, 3, 4, 4]


def test_styles_become_attributes_and_titles_are_escaped():
    text = '<svg width="9"><defs><style type="text/css">*{x:y}</style></defs><path style="fill: #fff; x: y"/></svg>'
    plain = plain_svg(text.replace("<path", '<g transform="scale(0.085 -0.085)" x="1.23456"/><path'), "a < b")
    assert "scale(0.085 -0.085)" in plain and 'x="1.235"' in plain
    assert '<path fill="#fff" x="y"/>' in plain and "<title>a &lt; b</title>" in plain and "style" not in plain
