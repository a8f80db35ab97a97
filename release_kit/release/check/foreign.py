"""What does not belong into an artifact of data: pickles, code, and configurations that ask for code.

Judged by content where content can tell (a ``.bin`` may be anything), never by running or unpickling it.
"""

import io
import re
import zipfile
from collections.abc import Iterator

from release_kit.release.check.codes import problem
from release_kit.release.check.problem import Problem
from release_kit.release.check.views import ArtifactFile, CellView, Survey

HEAD_BYTES = 1024
PICKLE_SUFFIXES = (".pkl", ".pickle", ".joblib", ".dill")
SCRIPT_SUFFIXES = (
    ".py", ".pyc", ".ipynb", ".sh", ".bash", ".zsh", ".ps1", ".bat", ".cmd", ".js", ".rb", ".pl", ".so", ".dll",
    ".dylib", ".exe", ".jar", ".whl",
)  # fmt: skip
_PICKLE_WEIGHTS = re.compile(r"(?:^|/)(?:pytorch_model|adapter_model|consolidated)[\w.-]*\.(?:bin|pt|pth)\Z")
_PICKLE_START = re.compile(rb"\x80[\x02-\x05]")
_EXECUTABLE_START = (b"\x7fELF", b"MZ\x90\x00", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"#!")


def check_foreign(survey: Survey) -> Iterator[Problem]:
    """Yield every released file that can run code, and every configuration that asks a loader to."""
    judged: dict[tuple[str, str], tuple[str, str] | None] = {}
    for view in survey.cells.values():
        for file in view.files:
            if not file.released or file.sha256 is None or file.inner.endswith(".safetensors"):
                continue
            key = (file.sha256, file.inner)
            if key not in judged:
                judged[key] = _judge(file)
            if (found := judged[key]) is not None:
                code, what = found
                yield problem(code, view.where, f"{file.inner} {what}", cell_id=view.cell.cell_id, path=file.path)
        yield from _remote_code(view)


def _judge(file: ArtifactFile) -> tuple[str, str] | None:
    """Return (code, what) for a file that can run code."""
    try:
        with open(file.file, "rb") as stream:
            head = stream.read(HEAD_BYTES)
    except OSError:
        return None  # reported as unreadable by the weights family
    name = file.inner.lower()
    if name.endswith(PICKLE_SUFFIXES) or _PICKLE_WEIGHTS.search(name):
        return "pickle", "is a pickle by its name"
    if _PICKLE_START.match(head):
        return "pickle", "begins as a pickle"
    if head.startswith(b"PK\x03\x04"):
        return _judge_archive(file, head)
    if name.endswith(".npy") and b"'|O'" in head:
        return "pickle", "holds an array of pickled objects"
    if name.endswith(SCRIPT_SUFFIXES):
        return "script", "is code by its name"
    return ("script", "begins as a program") if head.startswith(_EXECUTABLE_START) else None


def _judge_archive(file: ArtifactFile, head: bytes) -> tuple[str, str] | None:
    """Zip files: PyTorch's are pickles, NumPy's may hold pickled objects."""
    if b"data.pkl" in head:
        return "pickle", "is a PyTorch file with a pickle inside"
    try:
        with zipfile.ZipFile(file.file) as archive:
            for name in archive.namelist():
                if name.endswith((".pkl", ".pickle")):
                    return "pickle", f"is an archive that holds {name}"
                if name.endswith(".npy") and b"'|O'" in _start(archive, name):
                    return "pickle", f"holds an array of pickled objects ({name})"
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return None
    return None


def _start(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as stream:
        return io.BufferedReader(stream).read(HEAD_BYTES)


def _remote_code(view: CellView) -> Iterator[Problem]:
    for inner in sorted(view.documents):
        document = view.document(inner)
        asked = [key for key in ("auto_map", "trust_remote_code") if document.get(key)]
        if asked and inner.endswith("config.json"):
            file = view.file(inner)
            what = f"{inner} sets {' and '.join(asked)}"
            yield problem("remote-code", view.where, what, cell_id=view.cell.cell_id, path=file.path if file else None)
