"""Annotation files are held against runs and stimuli: there, readable, single, and ending when those end."""

from pathlib import Path

import pytest

from release_kit.bids.recipe.check import check_recipe

BY_RUN = (
    'annotations/{stimulus}_story_A01.csv"}',
    'annotations/{task}_{run}.txt", clock: run, options: {header: false}}',
)
SECONDS = (
    'annotator: A01, language: en, reader: intervals,\n     pattern: "annotations/{task}',
    'annotator: A01, language: en, reader: seconds,\n     pattern: "annotations/{task}',
)


def by_run(study: Path, reread, *lengths: int):
    """A source of one line a second, a file a run, with so many lines."""
    for run, length in enumerate(lengths, start=1):
        lines = "".join(f"[{second}] second {second}\n" for second in range(length))
        (study / "annotations" / f"film_{run}.txt").write_text(lines, encoding="utf-8")
    return check_recipe(reread(BY_RUN, SECONDS))


def found(report) -> list[tuple[str, str]]:
    return [(problem.code, problem.where.rsplit("/")[-1]) for problem in report.problems]


def test_a_line_a_second_for_each_second_of_the_run_is_right(study: Path, reread):
    assert not found(by_run(study, reread, 20, 20))


@pytest.mark.parametrize(("n_lines", "wrong"), [(20, False), (21, False), (22, True), (40, True)])
def test_an_annotation_longer_than_its_run_is_refused(study: Path, reread, n_lines: int, wrong: bool):
    report = by_run(study, reread, 20, n_lines)
    assert ([("annotation-long", "film_2.txt")] if wrong else []) == [one for one in found(report) if "long" in one[0]]


def test_an_annotation_longer_than_its_stimulus_is_refused(study: Path, reread):
    path = study / "annotations/film_story_A02.csv"
    path.write_text("onset,duration,text\n0,10,a\n30,7.5,b\n", encoding="utf-8")
    report = check_recipe(reread())
    assert found(report) == [("annotation-long", "film_story_A02.csv")]
    assert "goes on to 37.5 s, but 'film' has 36 s" in report.problems[0].what


def test_every_line_that_cannot_be_read_is_named(study: Path, reread):
    path = study / "annotations/film_story_A02.csv"
    path.write_text("onset,duration,text\nx,10,a\n3,nan,b\n", encoding="utf-8")
    codes = found(check_recipe(reread()))
    assert codes == [
        ("annotation-unreadable", "film_story_A02.csv:2"),
        ("annotation-unreadable", "film_story_A02.csv:3"),
    ]


def test_a_file_that_is_wrong_throughout_is_not_a_flood(study: Path, reread):
    lines = "".join("x,y,z\n" for _ in range(300))
    (study / "annotations/film_story_A02.csv").write_text("onset,duration,text\n" + lines, encoding="utf-8")
    report = check_recipe(reread())
    assert len(report.problems) == 21
    assert "further lines" in report.problems[-1].what


def test_a_wrong_option_of_a_reader_is_named(reread):
    report = check_recipe(reread(('story_A02.csv"', 'story_A02.csv", options: {onste: begin}')))
    assert [code for code, _ in found(report)] == ["annotation-unreadable"]
    assert "onste" in report.problems[0].what


def test_a_wrong_option_is_told_once_however_many_files_it_concerns(study: Path, reread):
    for run in (1, 2):
        (study / "annotations" / f"film_{run}.txt").write_text("[0] one\n", encoding="utf-8")
    report = check_recipe(reread(BY_RUN, SECONDS, ("header: false", "headr: false")))
    assert found(report) == [("annotation-unreadable", "annotations.storyA01")]
    assert "headr" in report.problems[0].what


def test_every_annotator_of_one_file_is_held_against_it(study: Path, reread):
    (study / "annotations/parts.txt").write_text("[0] a/b\n[1] c/\n", encoding="utf-8")
    part = 'annotator: A0{0}, language: en, reader: {1}\n     pattern: "annotations/{{stimulus}}_story_A0{0}.csv"'
    new = 'annotator: A0{0}, language: en, reader: {1}\n     pattern: "annotations/parts.txt", options: {{part: {0}}}'
    read = [(part.format(n, "intervals,"), new.format(n, "seconds,")) for n in (1, 2)]
    (study / "annotations/film_story_A01.csv").unlink()
    (study / "annotations/film_story_A02.csv").unlink()
    assert not found(check_recipe(reread(*read)))
    (study / "annotations/parts.txt").write_text("[0] a\n[1] c\n", encoding="utf-8")
    report = check_recipe(reread(*read))
    assert found(report) == [("annotation-unreadable", "parts.txt")]
    assert "`part` asks for number 2" in report.problems[0].what


def test_missing_must_be_declared_and_declared_must_be_missing(study: Path, reread):
    declared = ('story_A02.csv"', 'story_A02.csv", missing: {film: lost}')
    assert found(check_recipe(reread(declared))) == [("missing-but-there", "film_story_A02.csv")]
    (study / "annotations/film_story_A02.csv").unlink()
    assert not found(check_recipe(reread(declared)))
    assert found(check_recipe(reread())) == [("annotation-missing", "annotations storyA02 film")]


def test_a_file_of_an_unknown_stimulus_is_told(study: Path, reread):
    (study / "annotations/movie_story_A02.csv").write_text("onset,duration,text\n", encoding="utf-8")
    report = check_recipe(reread())
    assert (report.ok, found(report)) == (True, [("annotation-surplus", "annotations")])


def test_two_sources_of_one_file_are_refused_unless_options_tell_them_apart(reread):
    same = ("film_story_A02.csv".replace("film", "{stimulus}"), "{stimulus}_story_A01.csv")
    assert [code for code, _ in found(check_recipe(reread(same)))] == ["annotation-twice"]
    told = ('A02.csv"', 'A01.csv", options: {columns: {onset: onset, duration: duration, text: text}}')
    assert "annotation-twice" not in [code for code, _ in found(check_recipe(reread(told)))]


def test_an_empty_file_is_told(study: Path, reread):
    (study / "annotations/film_story_A02.csv").write_text("onset,duration,text\n", encoding="utf-8")
    report = check_recipe(reread())
    assert (report.ok, found(report)) == (True, [("annotation-empty", "film_story_A02.csv")])
