"""Nothing leaves that may identify a person, in any version or message, and nothing that nobody has searched."""

import json
from pathlib import Path

import bids_factory
import pytest
from cli_in_process import release_kit
from versioning_factory import AUTHOR, DATE, NOISE, UNNAMED, git, make_dataset, write

from release_kit.bids.convert.run import convert
from release_kit.bids.recipe.read import read_recipe
from release_kit.bids.versioning.identity import Search
from release_kit.bids.versioning.save import save_version
from release_kit.bids.versioning.siblings import KINDS, publish_dataset
from release_kit.core.errors import IntegrityError, UsageError

TANAKA = Search(words=("Tanaka",), vouched=NOISE)
NOTES = "sub-01/notes.txt"


def add(folder: Path, path: str, text: str, message: str = "A note") -> None:
    """Commit a file with plain git, as somebody would who does not know of a gate."""
    write(folder / path, text.encode())
    git(folder, "add", path)
    git(folder, "commit", "-qm", message)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_leaves_before_somebody_has_said_which_names_are_secret(kind: str, saved: Path, tmp_path: Path):
    with pytest.raises(UsageError, match=r"not searched for the names .* --recipe; .* --word; .* --no-words"):
        publish_dataset(saved, kind, tmp_path / "there")
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_in_a_file_added_by_hand_is_refused(kind: str, saved: Path, tmp_path: Path):
    write(saved / NOTES, b"Tanaka slept in run 2.\n")
    save_version(saved, version="1.1.0", author=AUTHOR, date=DATE, everything=True)
    with pytest.raises(IntegrityError, match=rf"1 place with something identifying: {NOTES}: the word 'T"):
        publish_dataset(saved, kind, tmp_path / "there", search=TANAKA)
    assert not (tmp_path / "there").exists()


def test_a_name_of_an_earlier_version_leaves_with_the_history_but_not_with_a_tree(saved: Path, tmp_path: Path):
    add(saved, NOTES, "Tanaka slept.\n", "Notes of Tanaka")
    git(saved, "rm", "-q", NOTES)
    git(saved, "commit", "-qm", "No notes")
    save_version(saved, version="1.1.0", author=AUTHOR, date=DATE, everything=True)
    with pytest.raises(IntegrityError, match="2 places") as refused:
        publish_dataset(saved, "directory", tmp_path / "there", search=TANAKA)
    assert f"{NOTES}: the word" in str(refused.value) and "(in the history, commit" in str(refused.value)
    assert "the message of the commit" in str(refused.value)
    assert publish_dataset(saved, "tree", tmp_path / "tree", search=TANAKA).version == "1.1.0"


def test_what_no_program_can_look_into_leaves_when_somebody_vouches_for_it(saved: Path, tmp_path: Path):
    with pytest.raises(IntegrityError, match=r"6 files that cannot be looked into: .*--vouch"):
        publish_dataset(saved, "tree", tmp_path / "tree", search=Search(words=()))
    some = Search(words=(), vouched=("*_bold.nii.gz",))
    with pytest.raises(IntegrityError, match="2 files that cannot be looked into: stimuli/annotations/object"):
        publish_dataset(saved, "tree", tmp_path / "tree", search=some)
    write(saved / "sub-01/a.json", b'{"PatientName": "Ada"}\n')
    save_version(saved, version="1.0.1", author=AUTHOR, date=DATE, everything=True, stays_here=True)
    with pytest.raises(IntegrityError, match=r"sub-01/a\.json: `PatientName`"):
        publish_dataset(saved, "tree", tmp_path / "tree", search=Search(words=(), vouched=("*",)))


def test_only_what_changed_is_searched_again_and_other_words_begin_anew(saved: Path, tmp_path: Path):
    def searched(search: Search) -> list[int]:
        events: list[dict] = []
        publish_dataset(saved, "directory", tmp_path / "there", search=search, on_event=events.append)
        return [event["n"] for event in events if event["event"] == "searching"]

    assert searched(UNNAMED)[0] > 20
    assert searched(UNNAMED) == searched(Search()) == []
    add(saved, NOTES, "Slept.\n")
    save_version(saved, version="1.1.0", author=AUTHOR, date=DATE, everything=True)
    before = git(saved, "rev-list", "--count", "1.0.0..1.1.0")
    assert searched(UNNAMED)[0] < 8 and before
    assert searched(TANAKA)[0] > 20
    memory = (saved / ".git/release_kit/searched.json").read_text()
    assert "Tanaka" not in memory and "notes" not in memory


def test_a_cut_off_search_leaves_nothing_and_hides_nothing(saved: Path, tmp_path: Path):
    write(saved / ".git/release_kit/look-1" / "x" / "sub-01.json", b"{}")
    publish_dataset(saved, "tree", tmp_path / "tree", search=UNNAMED)
    assert not list((saved / ".git/release_kit").glob("look-*"))
    (saved / ".git/release_kit/searched.json").write_text("{")
    with pytest.raises(UsageError, match="not searched"):
        publish_dataset(saved, "tree", tmp_path / "tree")


def test_save_refuses_what_identifies_before_it_is_history(tmp_path: Path):
    folder = make_dataset(tmp_path / "dataset")
    write(folder / "sub-01/func/sub-01_task-film_run-01_bold.json", b'{"PatientName": "Ada"}\n')
    with pytest.raises(IntegrityError, match=r"`PatientName`.*--stays-here; nothing was saved"):
        save_version(folder, version="1.0.0", author=AUTHOR, date=DATE)
    assert not (folder / ".git").exists()
    save_version(folder, version="1.0.0", author=AUTHOR, date=DATE, stays_here=True)
    write(folder / NOTES, b"Tanaka slept.\n")
    head = git(folder, "rev-parse", "HEAD")
    with pytest.raises(IntegrityError, match=f"1 place with something identifying: {NOTES}"):
        save_version(folder, version="1.1.0", author=AUTHOR, date=DATE, everything=True, search=TANAKA)
    assert git(folder, "rev-parse", "HEAD") == head and not list((folder / ".git/release_kit").glob("*look-*"))


def test_recipe_named_at_save_is_enough_for_every_publication(tmp_path: Path):
    recipe = bids_factory.make_recordings(tmp_path / "study")
    dataset = tmp_path / "dataset"
    convert(read_recipe(recipe), dataset)
    (dataset / "code/release_kit/recipe.yaml").unlink()  # it names the version, and this one goes on by hand
    author = ("--author", AUTHOR)
    assert release_kit("bids", "save", dataset, "--version", "1.0.0", "--recipe", recipe, *author).returncode == 0
    assert release_kit("bids", "publish", dataset, "--tree", tmp_path / "tree").returncode == 0
    write(dataset / "sub-01/notes.txt", b"AB12 slept.\n")
    ran = release_kit("bids", "save", dataset, "--recipe", recipe, "--all", "--version", "1.0.1", *author)
    assert ran.returncode == 1 and "something identifying: sub-01/notes.txt: the word 'A" in ran.stderr
    git(dataset, "add", ".")
    git(dataset, "commit", "-qm", "By hand")
    git(dataset, "tag", "-a", "1.0.1", "-m", "By hand")
    ran = release_kit("bids", "publish", dataset, "--tree", tmp_path / "tree")
    assert ran.returncode == 2 and "1 file (such as sub-01/notes.txt) not searched" in ran.stderr
    ran = release_kit("bids", "publish", dataset, "--tree", tmp_path / "tree", "--recipe", recipe, "--json")
    assert ran.returncode == 1 and "sub-01/notes.txt" in json.loads(ran.stdout)["what"]
    assert not (tmp_path / "tree/sub-01/notes.txt").exists()


def test_recipe_of_the_dataset_itself_lists_no_names_and_is_not_taken_for_one_that_does(tmp_path: Path):
    recipe = bids_factory.make_recordings(tmp_path / "study")
    dataset = tmp_path / "dataset"
    convert(read_recipe(recipe), dataset)
    save_version(dataset, version="1.0.0", author=AUTHOR, date=DATE)
    own = dataset / "code/release_kit/recipe.yaml"
    ran = release_kit("bids", "publish", dataset, "--tree", tmp_path / "tree", "--recipe", own)
    assert ran.returncode == 2 and "lists no names" in ran.stderr


def test_words_and_no_words_contradict_each_other(saved: Path, tmp_path: Path):
    ran = release_kit("bids", "publish", saved, "--tree", tmp_path / "t", "--no-words", "--word", "Ada")
    assert ran.returncode == 2 and "--no-words says that there are no names" in ran.stderr
