"""A recipe is read by its grammar: defaults are filled in, everything that is wrong is said at once, with its line."""

from pathlib import Path

import pytest

from release_kit.bids.recipe.model import Shown
from release_kit.bids.recipe.problems import RecipeError
from release_kit.bids.recipe.read import parse_recipe, read_draft, read_recipe
from release_kit.core.errors import RecordError, StudyError

HEAD = """\
schema_version: 1
dataset: {name: N, version: 1.0.0, authors: [A], license: CC0-1.0, description: D}
subjects: {"01": {source: DM01, age: 28}, "02": {source: DM03}}
tasks: {film: {name: Film}, rest: {name: Rest}}
stimuli: {a: {title: A, duration_s: 3000}, b: {title: B, duration_s: 100}}
recordings: {pattern: "{source}/{task}_{run}.nii.gz", tr_s: 2, overlap_s: 20, onset_s: 4, dummy_scans: 3, session: x}
runs:
"""


def problems_of(text: str, folder: Path = Path()) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, folder=folder)
    return [f"{problem.where} {problem.what} {problem.next_step}" for problem in caught.value.problems]


def runs_of(*lines: str) -> list:
    recipe, _ = parse_recipe(HEAD + "\n".join(f"  - {{{line}}}" for line in lines), folder=Path())
    return list(recipe.runs)


def test_defaults_hold_for_every_run_that_does_not_say_otherwise():
    first, second = runs_of(
        "task: film, run: 1", "task: film, run: 2, tr_s: 1.5, dummy_scans: 0, session: y, kind: dicom, pattern: z"
    )
    assert (first.tr_s, first.dummy_scans, first.session, first.suffix) == (2.0, 3, "x", "bold")
    assert (first.recording.kind, first.recording.pattern) == ("nifti", "{source}/{task}_{run}.nii.gz")
    assert (second.tr_s, second.dummy_scans, second.session) == (1.5, 0, "y")
    assert (second.recording.kind, second.recording.pattern) == ("dicom", "z")


def test_parts_follow_one_another_less_the_overlap():
    shown = [
        run.shows
        for run in runs_of(
            "task: film, run: 1, shows: {stimulus: a, duration_s: 720}",
            "task: film, run: 2, shows: {stimulus: b, duration_s: 100, onset_s: 0}",
            "task: film, run: 3, shows: {stimulus: a, duration_s: 700}",
            "task: film, run: 4, shows: {stimulus: a, duration_s: 60, overlap_s: 5}",
            "task: rest, run: 1",
            "task: film, run: 5, shows: {stimulus: a, start_s: 0, duration_s: 720}",
        )
    ]
    assert shown[0] == Shown(stimulus="a", start_s=0, duration_s=720, onset_s=4, overlap_s=0)
    assert shown[1] == Shown(stimulus="b", start_s=0, duration_s=100, onset_s=0, overlap_s=0)
    assert (shown[2].start_s, shown[2].overlap_s) == (700, 20)
    assert (shown[3].start_s, shown[3].overlap_s) == (1395, 5)
    assert shown[4] is None
    assert (shown[5].start_s, shown[5].overlap_s) == (0, 0), "a film shown again from its start repeats nothing"


def test_levels_are_those_of_the_vocabulary_that_are_used_and_those_declared(reread):
    recipe = reread(("annotations:\n", "levels: {mood: {description: How it feels}}\nannotations:\n"))
    assert list(recipe.levels) == ["object", "story", "mood"]
    assert "seen" in recipe.levels["object"].description


def test_everything_wrong_is_said_at_once_by_line():
    text = HEAD.replace("tr_s: 2", "tr_s: 0").replace("license: CC0-1.0", "licence: CC0-1.0") + (
        "  - {task: flim, run: 1, shows: {stimulus: a, duration_s: long}}\n"
        "  - {task: film, run: 1, missing: {03: gone}}\n"
        "  - {task: film, run: 1}\n"
    )
    found = problems_of(text)
    assert [line.split()[0] for line in found] == [f"recipe.yaml:{n}" for n in (2, 2, 6, 8, 8, 9, 9, 10)]
    joined = "\n".join(found)
    for part in (
        "`dataset.license` is missing",
        "`dataset.licence` is not a known key did you mean 'license'?",
        "`recordings.tr_s` is 0, expected more than 0",
        "'flim' is no known task did you mean 'film'?",
        "`runs[0].shows.duration_s` is 'long', expected a number",
        "the key is 3, expected text",
        "stands twice `runs[1]` has it too",
    ):
        assert part in joined, joined


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"02": {source: DM03}', "02: {source: DM03}", "the label is 2, expected text put it in quotes"),
        ('"02"', '"0-2"', "the label is '0-2' use letters and digits only"),
        ("source: DM03", "source: DM01", "the source name 'DM01' stands twice"),
        ("age: 28", "age: 2024-01-02", "expected text or a number"),
        ("age: 28", "participant_id: x", "is a column that is written from other keys"),
        ("version: 1.0.0", "version: 1.0", "is 1.0, expected text put it in quotes"),
        ("{source}/{task}_{run}.nii.gz", "/data/{source}.nii", "which leaves the folder of the sources"),
        ("{source}/{task}_{run}.nii.gz", "../{source}.nii", "which leaves the folder of the sources"),
        ("{source}/{task}_{run}.nii.gz", "{sorce}.nii", "names {sorce}, which is nothing known of these files"),
        ("{source}/{task}_{run}.nii.gz", "{source:02d}.nii", "is no pattern"),
        ("{source}/{task}_{run}.nii.gz", "**/{source}.nii", "`**` is not understood"),
        ("{source}/{task}_{run}.nii.gz", "{source.__class__}.nii", "nothing known of these files"),
        ("tr_s: 2", "tr_s: -1", "expected more than 0"),
        ("schema_version: 1", "schema_version: 2", "this release_kit reads 1; update release_kit"),
        ("license: CC0-1.0", "license: CC0", "no SPDX identifier did you mean CC0-1.0?"),
        ("license: CC0-1.0", "license: CC BY 4.0", "did you mean CC-BY-4.0?"),
        ("license: CC0-1.0", "license: cc0-1.0", "SPDX spells it CC0-1.0"),
        ("license: CC0-1.0", "license: MIT OR Apache-2.0", "write one licence"),
        ("license: CC0-1.0", "license: ours", "`LicenseRef-` and a name for terms of your own"),
        ("title: A", "title: [A]", "expected text"),
        ("authors: [A]", "authors: []", "at least one"),
    ],
)
def test_a_mistake_is_named_with_what_to_do(old: str, new: str, said: str):
    text = HEAD + "  - {task: film, run: 1}\n"
    assert old in text
    assert any(said in line for line in problems_of(text.replace(old, new))), problems_of(text.replace(old, new))


def test_a_number_that_is_none_is_named_by_its_line():
    with pytest.raises(RecordError, match=r"recipe\.yaml: not valid YAML: \.nan is not a finite number .* line 6"):
        problems_of(HEAD.replace("tr_s: 2", "tr_s: .nan") + "  - {task: film, run: 1}\n")


ANNOTATED = (
    HEAD + "  - {task: film, run: 1, shows: {stimulus: a, duration_s: 9}}\n  - {task: film, run: 2}\nannotations:\n"
)
SOURCE = "  - {{id: {id}, level: story, annotator: A, language: {language}, reader: srt, pattern: '{pattern}'{more}}}\n"


def source(id: str, language: str = "ja", pattern: str = "{stimulus}.srt", more: str = "") -> str:
    return SOURCE.format(id=id, language=language, pattern=pattern, more=more)


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        ([source("a1"), source("a1", "en")], "the id 'a1' stands twice"),
        ([source("a1", more=", translated_from: a9")], "'a9' is no known annotation"),
        ([source("a1", more=", translated_from: a1")], "names the annotation itself"),
        ([source("a1"), source("a2", more=", translated_from: a1")], "which is in the same language (ja)"),
        (
            [source("a1", "ja", more=", translated_from: a2"), source("a2", "en", more=", translated_from: a1")],
            "goes round in a circle",
        ),
        ([source("a1", pattern="x.srt")], "is the same file for every stimulus"),
        ([source("a1", pattern="{task}_{run}.srt")], "names a run, but its clock is the stimulus"),
        ([source("a1", pattern="{stimulus}.srt", more=", clock: run")], "is the same file for every run"),
        ([source("a1", more=", missing: {c: lost}")], "'c' is no known stimulus or run"),
        ([source("a1").replace("story", "stories")], "'stories' is no known level did you mean 'story'?"),
        ([source("a1").replace("srt,", "str,")], "is 'str' did you mean 'srt'?"),
    ],
)
def test_annotation_sources_must_agree_with_each_other(sources: list[str], said: str):
    found = problems_of(ANNOTATED + "".join(sources))
    assert any(said in line for line in found), found


def test_broken_yaml_and_doubled_keys_are_refused():
    with pytest.raises(RecordError, match="stands twice"):
        parse_recipe("schema_version: 1\nschema_version: 1\n", folder=Path())
    with pytest.raises(RecordError, match="not valid YAML"):
        parse_recipe("a: [", folder=Path())
    assert "expected a mapping" in problems_of("- 1")[0]


def test_a_recipe_that_is_not_there_names_the_next_step(tmp_path: Path):
    with pytest.raises(StudyError, match="bids init"):
        read_recipe(tmp_path)


def test_pseudonyms_are_read_from_a_table_outside(study: Path, reread):
    (study / "private").mkdir()
    table = study / "private" / "pseudonyms.tsv"
    table.write_text("participant_id\tsource\tage\tgroup\nsub-01\tAB12\t28\t01\n02\tCD34\tn/a\t\n", encoding="utf-8")
    text = (study / "recipe.yaml").read_text(encoding="utf-8")
    start, end = text.index("subjects:"), text.index("tasks:")
    changed = text[:start] + "subjects: {from: private/pseudonyms.tsv}\n" + text[end:]
    recipe, _ = parse_recipe(changed, folder=study)
    assert [(one.label, one.source, dict(one.columns)) for one in recipe.subjects] == [
        ("01", "AB12", {"age": 28, "group": "01"}),
        ("02", "CD34", {}),
    ]
    table.write_text("participant_id\tsource\n01\tAB12\n01\tCD34\textra\n01\tEF56\n", encoding="utf-8")
    found = problems_of(changed, study)
    assert any("line 3: 3 fields where the header has 2" in line for line in found)
    assert any("line 4: '01' stands twice" in line for line in found)
    table.write_text("id\tsource\n01\tAB12\n", encoding="utf-8")
    assert any("has no column participant_id" in line for line in problems_of(changed, study))


def test_a_draft_is_read_but_refused_where_it_must_be_complete(study: Path):
    path = study / "recipe.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("name: Two films", "name: FILL IN"), encoding="utf-8")
    recipe, unfilled = read_draft(path)
    assert len(recipe.runs) == 2
    assert [(problem.code, problem.where) for problem in unfilled] == [("fill-in", f"{path}:3")]
    with pytest.raises(RecipeError, match="still to be filled in"):
        read_recipe(path)


def test_every_problem_is_a_record_for_programs():
    with pytest.raises(RecipeError) as caught:
        parse_recipe("schema_version: 1\n", folder=Path())
    records = caught.value.to_dict()["problems"]
    assert {record["code"] for record in records} == {"missing-key"}
    assert len(records) == 4, records


def test_a_subject_with_another_recording_takes_what_is_not_said_from_the_others(reread):
    other = 'kind: nifti, tr_s: 1.0, subjects: {"02": {kind: dicom}}'
    own = 'run: 2, subjects: {"02": {pattern: "{source}/second", options: {series: 4}}, "01": {pattern: first}}'
    first, second = reread(("kind: nifti, tr_s: 1.0", other), ("run: 2", own)).runs
    assert first.recording_of("01") == first.recording and first.recording_of("02").kind == "dicom"
    assert first.recording_of("02").pattern == first.recording.pattern
    assert (second.recording_of("02").pattern, second.recording_of("02").options) == ("{source}/second", {"series": 4})
    assert (second.recording_of("01").pattern, second.recording_of("01").kind) == ("first", "nifti")


def test_a_recording_of_nobody_is_refused(reread):
    with pytest.raises(RecipeError, match=r"runs\[0\]\.subjects\.03.*'03' is no known subject"):
        reread(("run: 1", 'run: 1, subjects: {"03": {kind: dicom}}'))
