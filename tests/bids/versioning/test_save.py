"""What a save promises: commits by meaning, SHA256E, a manifest that names every byte, nobody's changes taken."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest
from versioning_factory import ANNOTATION, AUTHOR, DATE, OBJECTS, RUNS, STORY, git, make_dataset, write

from release_kit.bids.versioning.annex import environment
from release_kit.bids.versioning.manifest import DatasetManifest
from release_kit.bids.versioning.paths import MANIFEST_FILE
from release_kit.bids.versioning.save import save_version
from release_kit.core.errors import RecordError, ReleaseKitError, UsageError


def save(folder: Path, version: str = "1.0.0", **options):
    return save_version(folder, version=version, author=AUTHOR, date=DATE, **options)


def test_saved_folder_is_a_datalad_dataset_with_one_commit_per_meaning(saved: Path):
    titles = git(saved, "log", "--format=%s").splitlines()
    assert titles == ["Version 1.0.0", "Annotations of 1.0.0", "Recordings of 1.0.0", "Metadata of 1.0.0"]
    assert git(saved, "tag", "--list") == "1.0.0"
    assert git(saved, "status", "--short") == ""
    assert "nothing to save" in git(saved, "datalad!", "status")
    changed = {}
    for line in git(saved, "log", "--format=%h %s").splitlines():
        commit, title = line.split(" ", 1)
        changed[title] = git(saved, "show", "--name-only", "--format=", commit).splitlines()
    assert set(RUNS) <= set(changed["Recordings of 1.0.0"])
    assert ANNOTATION in changed["Annotations of 1.0.0"]
    assert changed["Version 1.0.0"] == ["CHANGES", MANIFEST_FILE]


def test_recordings_go_to_the_annex_under_sha256_and_text_to_git(saved: Path):
    target = os.readlink(saved / RUNS[0])
    assert "/SHA256E-s4000--" in target and target.endswith(".nii.gz")
    assert not (saved / ANNOTATION).is_symlink() and not (saved / ".gitattributes").is_symlink()
    assert (saved / STORY).is_symlink()


def test_manifest_names_every_file_by_path_size_and_sha256(saved: Path):
    manifest = DatasetManifest.from_bytes((saved / MANIFEST_FILE).read_bytes(), "manifest")
    assert manifest.version == "1.0.0" and manifest.name == "Two films"
    tracked = set(git(saved, "ls-files").splitlines()) - {MANIFEST_FILE}
    assert set(manifest.by_path) == tracked
    for file in manifest.files:
        data = (saved / file.path).read_bytes()
        assert (file.size_bytes, file.sha256) == (len(data), hashlib.sha256(data).hexdigest()), file.path


def test_same_files_give_the_same_tree_and_the_same_dataset_id(tmp_path: Path, saved: Path):
    other = make_dataset(tmp_path / "other")
    report = save(other)
    assert report.tree == git(saved, "rev-parse", "HEAD^{tree}")
    assert save(other).written is False


def test_text_is_committed_byte_for_byte_whatever_git_is_told_about_line_ends(tmp_path: Path):
    folder = make_dataset(tmp_path / "dataset")
    Path(os.environ["GIT_CONFIG_GLOBAL"]).write_text("[core]\n\tautocrlf = true\n\texcludesFile = ~/ignored\n")
    (Path.home() / "ignored").write_text("*.tsv\nCHANGES\n")
    try:
        save(folder)
        clone = tmp_path / "clone"
        subprocess.run(["git", "clone", "-q", str(folder), str(clone)], check=True, capture_output=True)
        assert (clone / "README.md").read_bytes() == b"Two people watch a film.\r\nLine ends stay.\n"
        assert (clone / ANNOTATION).is_file()
    finally:
        Path(os.environ["GIT_CONFIG_GLOBAL"]).unlink()


def test_identity_is_the_named_author_in_every_commit(saved: Path):
    assert set(git(saved, "log", "--all", "--format=%an <%ae>|%cn <%ce>").splitlines()) == {f"{AUTHOR}|{AUTHOR}"}


def test_nobody_named_as_author_is_refused_before_anything_is_made(tmp_path: Path):
    folder = make_dataset(tmp_path / "dataset")
    with pytest.raises(UsageError, match="--author"):
        save_version(folder, version="1.0.0")
    assert not (folder / ".git").exists()
    with pytest.raises(UsageError, match="is not an author"):
        save_version(folder, version="1.0.0", author="Ada")


def test_copies_are_not_described_by_user_host_and_folder(saved: Path):
    log = git(saved, "show", "git-annex:uuid.log")
    assert " release_kit timestamp=" in log and str(saved.parent) not in log and "@" not in log


@pytest.mark.slow
def test_dataset_made_by_datalad_keeps_its_id_and_history_and_gets_sha256(tmp_path: Path):
    folder = tmp_path / "dataset"
    git(tmp_path, "datalad!", "create", "-c", "text2git", str(folder))
    before = git(folder, "config", "--file", ".datalad/config", "datalad.dataset.id")
    assert "MD5E" in (folder / ".gitattributes").read_text()
    make_dataset(folder)
    with pytest.raises(ReleaseKitError, match=r"not made by conversion: .*participants.tsv \(new\)"):
        save(folder)
    save(folder, everything=True)
    assert git(folder, "config", "--file", ".datalad/config", "datalad.dataset.id") == before
    assert "/SHA256E-" in os.readlink(folder / RUNS[0])
    assert not (folder / ".gitattributes").is_symlink() and not (folder / ".datalad" / ".gitattributes").is_symlink()
    assert git(folder, "log", "--format=%s").splitlines()[-1] == "[DATALAD] new dataset"


def test_version_that_exists_with_other_content_is_refused_with_the_next_number(saved: Path):
    write(saved / "participants.tsv", b"participant_id\nsub-01\n")
    with pytest.raises(ReleaseKitError, match=r"version 1\.0\.0 exists .* save it as 1\.0\.1"):
        save(saved, everything=True)
    write(saved / RUNS[0], b"another recording")
    with pytest.raises(ReleaseKitError, match=r"save it as 2\.0\.0"):
        save(saved, everything=True)
    assert git(saved, "rev-parse", "HEAD") == git(saved, "rev-parse", "1.0.0^{commit}")


def test_nothing_changed_is_no_new_version(saved: Path):
    with pytest.raises(ReleaseKitError, match=r"nothing has changed since version 1\.0\.0"):
        save(saved, "1.0.1")


def test_changes_of_somebody_are_refused_by_name_or_saved_when_asked(saved: Path):
    write(saved / "notes.txt", b"mine\n")
    write(saved / ANNOTATION, b"onset\tduration\ttext\n")
    (saved / RUNS[1]).unlink()
    with pytest.raises(ReleaseKitError) as refused:
        save(saved, "1.1.0")
    for name in ("notes.txt (new)", f"{ANNOTATION} (changed)", f"{RUNS[1]} (removed)"):
        assert name in str(refused.value)
    assert (saved / "notes.txt").read_bytes() == b"mine\n" and git(saved, "diff", "--cached", "--name-only") == ""
    report = save(saved, "2.0.0", everything=True)
    assert report.difference.removed == (RUNS[1],) and "notes.txt" in report.difference.added


def test_what_somebody_staged_is_refused_by_name(saved: Path):
    write(saved / "README.md", b"staged\n")
    git(saved, "add", "README.md")
    written = {"README.md": {hashlib.sha256(b"staged\n").hexdigest()}}
    with pytest.raises(ReleaseKitError, match=r"README.md \(changed, staged\)"):
        save(saved, "1.0.1", written=written)


def test_what_conversion_wrote_is_taken_and_its_removals_too(tmp_path: Path):
    folder = make_dataset(tmp_path / "dataset")
    paths = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    written = {path: {hashlib.sha256((folder / path).read_bytes()).hexdigest()} for path in paths}
    save(folder, written=written)
    new = b'{"RepetitionTime": 2.0}\n'
    sidecar = RUNS[0].replace(".nii.gz", ".json")
    write(folder / sidecar, new)
    (folder / RUNS[3]).unlink()
    written[sidecar] = {hashlib.sha256(new).hexdigest()}
    del written[RUNS[3]]
    write(folder / "notes.txt", b"mine\n")
    with pytest.raises(ReleaseKitError, match=r"1 change not made by conversion: notes.txt \(new\)"):
        save(folder, "2.0.0", written=written)
    (folder / "notes.txt").unlink()
    report = save(folder, "2.0.0", written=written)
    assert (report.difference.changed, report.difference.removed) == ((sidecar,), (RUNS[3],))


def test_no_command_is_recorded_for_what_was_edited_after_the_conversion(tmp_path: Path):
    folder = make_dataset(tmp_path / "dataset")
    paths = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    written = {path: {hashlib.sha256((folder / path).read_bytes()).hexdigest()} for path in paths}
    made = {"written": written, "command": ["convert"], "commands": {"annotations": ["convert", "annotations"]}}

    def recorded(version: str) -> list[str]:
        save(folder, version, everything=True, **made)
        subjects = git(folder, "log", "--format=%s", f"--grep=of {version}$", f"--grep=Version {version}$").splitlines()
        return [subject.partition("] ")[2] for subject in subjects if subject.startswith("[DATALAD RUNCMD]")]

    write(folder / "sourcedata/notes.txt", b"by hand\n")
    assert recorded("1.0.0") == ["Version 1.0.0", "Annotations of 1.0.0"]
    write(folder / ANNOTATION, b"onset\tduration\ttext\n0\t4\tA window opens.\n")
    assert recorded("1.1.0") == []
    write(folder / STORY, b"PAR1 converted anew")
    written[STORY] = {hashlib.sha256(b"PAR1 converted anew").hexdigest()}
    assert recorded("1.2.0") == [], "the edit of 1.1.0 is still there"
    written[ANNOTATION].add(hashlib.sha256((folder / ANNOTATION).read_bytes()).hexdigest())
    (folder / RUNS[3]).unlink()
    write(folder / OBJECTS, b"PAR1 converted anew")
    written[OBJECTS] = written[STORY]
    assert recorded("2.0.0") == ["Annotations of 2.0.0"], "a recording was thrown away"


def test_changes_tells_the_difference_by_meaning(saved: Path):
    assert (
        (saved / "CHANGES")
        .read_text()
        .startswith(
            "1.0.0 2026-11-22\n  - First version.\n  - Recordings: 8 files added.\n  - Annotations: 8 files added.\n"
        )
    )
    write(saved / ANNOTATION, b"onset\tduration\ttext\n0\t4\tA window opens.\n")
    (saved / "participants.tsv").unlink()
    save(saved, "1.1.0", everything=True)
    assert (
        (saved / "CHANGES")
        .read_text()
        .startswith(
            "1.1.0 2026-11-22\n"
            f"  - Annotations: 1 file changed ({ANNOTATION}).\n"
            "  - Metadata: 1 file removed (participants.tsv).\n"
            "\n1.0.0 2026-11-22\n"
        )
    )


def test_swapped_runs_are_a_change_of_both(saved: Path):
    first, second = (saved / RUNS[0]).read_bytes(), (saved / RUNS[2]).read_bytes()
    write(saved / RUNS[0], second)
    write(saved / RUNS[2], first)
    report = save(saved, "2.0.0", everything=True)
    assert report.difference.changed == (RUNS[0], RUNS[2])


def test_renamed_recording_is_named_as_moved(saved: Path):
    (saved / RUNS[3]).rename(saved / RUNS[3].replace("run-02", "run-03"))
    report = save(saved, "2.0.0", everything=True)
    assert report.difference.moved == ((RUNS[3], RUNS[3].replace("run-02", "run-03")),)
    assert (saved / RUNS[3].replace("run-02", "run-03")).read_bytes()


def test_files_that_no_version_can_hold_are_named_at_once(tmp_path: Path):
    folder = make_dataset(tmp_path / "dataset")
    (folder / "link").symlink_to("/etc/hostname")
    (folder / ".rk-tmp-run").write_bytes(b"half")
    (folder / "back\\slash").write_bytes(b"")
    with pytest.raises(ReleaseKitError) as refused:
        save(folder)
    for text in ("3 files cannot be saved", "link (a symbolic link)", ".rk-tmp-run (left over", "back"):
        assert text in str(refused.value)
    assert not (folder / ".git").exists()


def test_folder_that_is_no_dataset_is_refused(tmp_path: Path):
    with pytest.raises(RecordError, match=r"dataset_description\.json"):
        save(tmp_path)
    with pytest.raises(UsageError, match="no version"):
        save(make_dataset(tmp_path / "dataset"), version="one two")


def test_save_on_a_version_that_is_checked_out_says_how_to_go_back(saved: Path):
    git(saved, "checkout", "-q", "1.0.0")
    with pytest.raises(ReleaseKitError, match="git switch main"):
        save(saved, "1.1.0")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_dataset_of_another_user_is_refused_with_the_setting_that_allows_it(saved: Path):
    os.chown(saved, 4242, 4242)
    os.chown(saved / ".git", 4242, 4242)
    with pytest.raises(ReleaseKitError, match=r"another user.*safe\.directory"):
        save(saved, "1.1.0")


def test_second_save_waits_for_the_first(saved: Path):
    from release_kit.bids.versioning.guard import guarded

    with guarded(saved / ".git"), pytest.raises(ReleaseKitError, match="another save"):
        save(saved, "1.1.0")


def test_environment_does_not_inherit_another_repository(monkeypatch: pytest.MonkeyPatch, saved: Path):
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nowhere/index")
    assert "GIT_DIR" not in environment() and save(saved).written is False


def test_full_disk_is_told_and_nothing_is_lost(tmp_path: Path):
    """A quota of files of 64 kB: git-annex cannot write its copy, the recording stays, and a later save finishes."""
    import resource

    folder = make_dataset(tmp_path / "dataset")
    write(folder / "README.md", b"x" * 300_000)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))
    try:
        with pytest.raises(ReleaseKitError):
            save(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path: path.read_bytes() for path in before} == before
    assert save(folder).written
    assert {path: path.read_bytes() for path in before if path.name != "CHANGES"} == {
        path: data for path, data in before.items() if path.name != "CHANGES"
    }


@pytest.mark.parametrize("date", ["22.11.2026", "2026-13-01", "20261122"])
def test_a_day_that_is_none_is_refused_before_anything_is_written(date: str, tmp_path: Path):
    folder = make_dataset(tmp_path / "dataset")
    with pytest.raises(UsageError, match="is no day"):
        save_version(folder, version="1.0.0", author=AUTHOR, date=date)
    assert not (folder / ".git").exists()


def test_a_repository_inside_the_folder_is_refused_before_anything_is_written(tmp_path: Path):
    folder = make_dataset(tmp_path / "dataset")
    git(folder, "init", "-q", "derivatives/annotations")
    with pytest.raises(ReleaseKitError, match=r"derivatives/annotations \(a repository of its own\)"):
        save(folder)
    assert not (folder / ".git").exists()


def test_first_save_of_a_repository_of_others_takes_a_removal_too(tmp_path: Path):
    folder = make_dataset(tmp_path / "dataset")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "README.md", ANNOTATION)
    git(folder, "commit", "-qm", "by hand")
    (folder / ANNOTATION).unlink()
    assert save(folder, everything=True).written
    assert ANNOTATION not in git(folder, "ls-files").splitlines()
