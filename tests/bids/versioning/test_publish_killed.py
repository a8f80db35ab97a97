"""A publication that is killed while its children live on: the next one waits for them, and nothing is there twice."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from versioning_factory import UNNAMED, copied, git

from release_kit.bids.versioning.annex import NOBODY, Repository, VersioningError
from release_kit.bids.versioning.get import get_dataset
from release_kit.bids.versioning.remotes import LOCK_FILE, described, publishing, settle_store
from release_kit.bids.versioning.siblings import publish_dataset
from release_kit.bids.versioning.verify import verify_reference
from release_kit.core.errors import ReleaseKitError


def publish(folder: Path, store: Path, **options):
    return publish_dataset(folder, "ria", store, name="lab", alias="films", search=UNNAMED, **options)


def killed_beside_its_child(folder: Path, store: Path, delay_s: float, child: str) -> bool:
    """Publish, and kill the caller alone some time after it started such a child; return whether it was killed."""
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))

        def hook(event: str, args: tuple) -> None:
            if event == "subprocess.Popen" and child in args[1]:
                signal.setitimer(signal.ITIMER_REAL, delay_s)

        sys.addaudithook(hook)
        try:
            publish(folder, store)
        finally:
            os._exit(1)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


@pytest.mark.slow
def test_a_series_of_killed_publications_leaves_one_remote_and_the_next_one_works(saved: Path, tmp_path: Path):
    store = tmp_path / "store"
    told: list[dict] = []
    assert killed_beside_its_child(saved, store, 0.2, "create-sibling-ria")
    assert killed_beside_its_child(saved, store, 0.3, "rev-parse")
    report = publish(saved, store, on_event=told.append)
    waited = [event["who"] for event in told if event["event"] == "waiting"]
    assert len(waited) == 1 and "create-sibling-ria" in waited[0] and "process" in waited[0]
    assert len(described(Repository(saved), "lab-storage")) == 1
    assert verify_reference(report.ref).ok


def test_children_of_a_killed_publication_are_waited_for_by_name(saved: Path):
    state = saved / ".git" / "release_kit"
    with publishing(saved / ".git", lambda event: None) as held:
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[held])
        again = os.dup(held)
    os.close(again)
    (state / LOCK_FILE).write_text("1")  # the caller is another process, and has not got the file
    told: list[dict] = []

    def ended(event: dict) -> None:
        told.append(event)
        child.communicate()

    with publishing(saved / ".git", ended):
        pass
    assert told == [{"event": "waiting", "who": f"cat (process {child.pid})"}]


def test_two_publications_at_once_and_children_that_do_not_end_are_refused_by_name(saved: Path):
    with publishing(saved / ".git", print) as held:
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[held])
    lock = saved / ".git" / "release_kit" / LOCK_FILE
    try:
        still = rf"still at work: cat \(process {child.pid}\)"
        with pytest.raises(ReleaseKitError, match=still), publishing(saved / ".git", print, patience_s=0.0):
            pass
        lock.write_text(str(child.pid))
        with pytest.raises(ReleaseKitError, match="another publication is at work"), publishing(saved / ".git", print):
            pass
    finally:
        child.communicate()


@pytest.mark.slow
def test_two_remotes_of_one_store_become_one(saved: Path, tmp_path: Path):
    other, url = copied(saved, tmp_path / "other"), f"ria+file://{tmp_path}/store"
    publish(saved, tmp_path / "store")
    archive = git(saved, "config", "--file", ".datalad/config", "datalad.dataset.id")
    ora = ["type=external", "externaltype=ora", "encryption=none", f"url={url}", f"archive-id={archive}"]
    git(other, "git-annex!", "initremote", "lab-storage", "autoenable=true", *ora)
    git(saved, "fetch", "--quiet", str(other), "git-annex:refs/remotes/other/git-annex")
    git(saved, "git-annex!", "merge")
    repository = Repository(saved, NOBODY)
    own = git(saved, "config", "remote.lab-storage.annex-uuid")
    (left,) = set(described(repository, "lab-storage")) - {own}
    assert publish(saved, tmp_path / "store").n_contents
    assert list(described(repository, "lab-storage")) == [own]
    assert described(repository, f"lab-storage-left-{left[:8]}")[left]["autoenable"] == "false"
    assert f"{left} X" in git(saved, "show", "git-annex:trust.log")
    with pytest.raises(ReleaseKitError, match="describes a sibling 'lab-storage' at"):
        settle_store(repository, "lab-storage", "ria+file:///elsewhere")


def test_a_name_that_the_history_gives_to_another_place_is_refused(saved: Path, tmp_path: Path):
    publish_dataset(saved, "directory", tmp_path / "first", name="lab", search=UNNAMED)
    get_dataset(str(tmp_path / "first"), tmp_path / "clone")
    git(tmp_path / "clone", "config", "--remove-section", "remote.lab-annex")
    with pytest.raises(ReleaseKitError, match=r"somebody has made elsewhere.*--name"):
        publish_dataset(tmp_path / "clone", "directory", tmp_path / "second", name="lab", search=UNNAMED)


def test_a_store_without_history_is_told_in_words(tmp_path: Path):
    known = "708e3f5b-6de9-56d2-96f7-e5ab127c0d0e"
    bare, ref = tmp_path / "store" / known[:3] / known[3:], f"ria+file://{tmp_path}/store#{known}"
    bare.mkdir(parents=True)
    with pytest.raises(VersioningError, match=r"no repository yet.*publish` again"):
        verify_reference(ref)
    git(bare, "init", "--bare", "--quiet")
    with pytest.raises(VersioningError, match=r"holds no version.*publish` again"):
        verify_reference(ref)
