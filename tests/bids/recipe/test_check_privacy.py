"""Names of the lab are found before conversion: in the recipe's texts, in annotation files and in their names."""

from pathlib import Path

from release_kit.bids.recipe.check import check_recipe


def found(report) -> list[tuple[str, str]]:
    return [(problem.code, problem.where.rsplit("/")[-1]) for problem in report.problems]


def test_a_source_name_in_a_published_text_is_refused(reread):
    report = check_recipe(reread(("Watching a film with sound.", "Watching a film; AB12 slept.")))
    assert found(report) == [("identifying", "tasks.film.description")]
    assert "AB12" not in report.problems[0].sentence(), "reports travel; words are masked"


def test_words_of_the_recipe_are_searched_in_annotation_files(study: Path, reread):
    path = study / "annotations/film_story_A01.csv"
    path.write_text(path.read_text(encoding="utf-8") + "35,1,the Yamada Clinic\n", encoding="utf-8")
    report = check_recipe(reread(("annotations:\n", "privacy: {words: [Yamada Clinic]}\nannotations:\n")))
    assert found(report) == [("identifying", "film_story_A01.csv:11")]


def test_words_are_searched_in_names_of_annotation_files(study: Path, reread):
    (study / "annotations/film_story_A01.csv").rename(study / "annotations/film_story_CD34.csv")
    report = check_recipe(reread(("{stimulus}_story_A01.csv", "{stimulus}_story_CD34.csv")))
    assert sorted(found(report)) == [("identifying", "annotations[0].pattern"), ("identifying", "film_story_CD34.csv")]


def test_names_that_are_labels_already_are_not_searched(reread):
    report = check_recipe(reread(("AB12", "'01'"), ("Watching a film", "Subject 01 watches a film")))
    assert "identifying" not in [code for code, _ in found(report)]


def test_identifying_facts_in_the_recipe_are_refused_since_the_recipe_is_published(reread):
    facts = "sidecars: {bold: {DeviceSerialNumber: '67055', FlipAngle: 60, When: '2021-03-04'}}\nannotations:\n"
    report = check_recipe(reread(("annotations:\n", facts)))
    assert found(report) == [
        ("identifying", "sidecars.bold.DeviceSerialNumber"), ("identifying", "sidecars.bold.When")
    ]  # fmt: skip
    assert not any("67055" in problem.sentence() for problem in report.problems)
    kept = facts.replace("annotations:", "privacy: {keep: [DeviceSerialNumber, When]}\nannotations:")
    assert not found(check_recipe(reread(("annotations:\n", kept))))


def test_parts_of_a_name_in_the_lab_are_found_and_ordinary_ones_can_be_named(study: Path, reread):
    for old in sorted((study / "recordings" if (study / "recordings").is_dir() else study).rglob("AB12*")):
        old.rename(old.with_name(old.name.replace("AB12", "tanaka_yuki")))
    path = study / "annotations/film_story_A01.csv"
    path.write_text(path.read_text(encoding="utf-8") + "35,1,Goodbye Yuki\n", encoding="utf-8")
    report = check_recipe(reread(("AB12", "tanaka_yuki")))
    assert ("identifying", "film_story_A01.csv:11") in found(report)
    problem = next(problem for problem in report.problems if problem.code == "identifying")
    assert "a part of a name in the lab" in problem.what and "privacy.ordinary" in problem.next_step
    allowed = reread(("AB12", "tanaka_yuki"), ("annotations:\n", "privacy: {ordinary: [yuki]}\nannotations:\n"))
    assert "identifying" not in [code for code, _ in found(check_recipe(allowed))]
