"""A tiny dataset, ways to damage it, and a web server on this machine: what the tests of versioning share."""

import contextlib
import functools
import http.server
import json
import os
import random
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

from release_kit.bids.versioning.annex import environment
from release_kit.bids.versioning.identity import Search

AUTHOR = "Ada Example <ada@example.org>"
DATE = "2026-11-22"
RUNS = [
    f"sub-{subject}/func/sub-{subject}_task-film_run-{run:02d}_bold.nii.gz"
    for subject in ("01", "02")
    for run in (1, 2)
]
ANNOTATION = "stimuli/stim-film_annot-storyA01_events.tsv"
NOISE = ("*.nii.gz", "*.parquet")
"""Files of the dataset that are random bytes under a name, so that nobody can look into them."""
UNNAMED = Search(words=(), vouched=NOISE)
"""Nobody's name is secret here."""
STORY, OBJECTS = "stimuli/annotations/story.parquet", "stimuli/annotations/object.parquet"


def make_dataset(folder: Path, *, seed: int = 3, n_bytes: int = 4000) -> Path:
    """Write two runs of two subjects with annotations of two levels; the same bytes for the same seed."""
    random_bytes = random.Random(seed).randbytes
    texts = {
        "dataset_description.json": json.dumps({"Name": "Two films", "BIDSVersion": "1.11.1"}) + "\n",
        "README.md": "Two people watch a film.\r\nLine ends stay.\n",
        "CHANGES": "1.0.0 Not Released\n  - First version.\n",
        "participants.tsv": "participant_id\nsub-01\nsub-02\n",
        "stimuli/stimuli.tsv": "stimulus_id\nstim-film\n",
        "stimuli/annotations.tsv": "annot_id\tlevel\nstoryA01\tstory\nobjectA01\tobject\n",
        ANNOTATION: "onset\tduration\ttext\n0\t4\tA door opens.\n",
        "stimuli/stim-film_annot-objectA01_events.tsv": "onset\tduration\ttext\n0\t1\tdoor\n",
        "sourcedata/annotations/film_story_A01.csv": "onset,duration,text\n0,4,A door opens.\n",
        "derivatives/annotations/dataset_description.json": json.dumps({"Name": "Annotations"}) + "\n",
    }
    for path in RUNS:
        texts[path.replace("_bold.nii.gz", "_bold.json")] = '{"RepetitionTime": 1.0}\n'
        write(folder / path, random_bytes(n_bytes))
    for path in (STORY, OBJECTS):
        write(folder / path, b"PAR1" + random_bytes(600))
    for path, text in texts.items():
        write(folder / path, text.encode())
    return folder


def write(path: Path, data: bytes) -> None:
    """Write a file over whatever is there, as a program would that knows nothing of the annex."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        path.unlink()
    path.write_bytes(data)


def git(folder: Path, *words: str, ok: tuple[int, ...] = (0,)) -> str:
    """Run plain git (or another program, when the first word ends with ``!``) as a user would."""
    command = [words[0][:-1], *words[1:]] if words[0].endswith("!") else ["git", *words]
    identity = {
        f"GIT_{r}_{k}": v for r in ("AUTHOR", "COMMITTER") for k, v in (("NAME", "U"), ("EMAIL", "u@example.org"))
    }
    ran = subprocess.run(command, cwd=folder, env=environment() | identity, capture_output=True, text=True)
    assert ran.returncode in ok, f"{words}: {ran.stdout}{ran.stderr}"
    return ran.stdout.strip()


def copied(source: Path, target: Path) -> Path:
    """Copy a repository or a store with its links; git-annex's write protection goes along."""
    shutil.copytree(source, target, symlinks=True)
    return target


def writable(folder: Path) -> None:
    """Give back the right to write that git-annex takes."""
    for place, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = os.path.join(place, name)
            if not os.path.islink(path):
                os.chmod(path, 0o755 if name in folders else 0o644)


def content_of(folder: Path, dataset: Path, path: str) -> Path:
    """Return where the bytes of ``path`` lie in a sibling or clone: an object of the annex, or the file itself."""
    if (folder / path).exists():
        return (folder / path).resolve()
    key = os.readlink(dataset / path).rsplit("/", 1)[1]
    found = [place for place in folder.rglob(key) if place.is_file()]
    assert len(found) == 1, found
    return found[0]


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder over http on the loopback address for the block; yields the address."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing."""
