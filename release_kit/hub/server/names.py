"""What may be named how: repositories, branches, tags and paths inside a repository, by the Hub's rules.

Pure checks that raise the answer the client gets; nothing here touches the index.
"""

import re

from release_kit.hub.server.replies import HttpError

REPO_TYPES = ("model", "dataset", "space")
MAX_PATH_BYTES = 1024
MAX_DEPTH = 100
_NAME = re.compile(r"[\w-][\w.-]{0,95}", re.ASCII)
_REF = re.compile(r"[^\x00-\x20\x7f~^:?*\[\\]{1,200}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def check_repo_name(name: str, *, what: str = "repository name") -> str:
    """Return ``name`` if the Hub would accept it as a repository or namespace name.

    Raises:
        HttpError: 400 with the rule that is broken.
    """
    problem = _repo_name_problem(name)
    if problem:
        raise HttpError(400, f"Invalid {what} {name!r}: {problem}")
    return name


def _repo_name_problem(name: object) -> str | None:
    if not isinstance(name, str) or not name:
        return "it is empty"
    if len(name) > 96:
        return f"it has {len(name)} characters, at most 96 are allowed"
    if not _NAME.fullmatch(name):
        return "only ASCII letters, digits, '-', '_' and '.' are allowed"
    if name[0] in "-." or name[-1] in "-.":
        return "it starts or ends with '-' or '.'"
    if "--" in name or ".." in name:
        return "'--' and '..' are not allowed"
    if name.endswith((".git", ".ipynb")):
        return "it ends with .git or .ipynb"
    return None


def check_repo_id(namespace: str, name: str) -> None:
    """Check both parts of ``namespace/name``.

    Raises:
        HttpError: 400 with the rule that is broken.
    """
    check_repo_name(namespace, what="namespace")
    check_repo_name(name)


def check_ref_name(name: object, *, what: str) -> str:
    """Return ``name`` if git would accept it for a branch or tag and it cannot be taken for a commit id.

    Raises:
        HttpError: 400 with the rule that is broken.
    """
    if not isinstance(name, str) or not _REF.fullmatch(name):
        raise HttpError(400, f"Invalid {what} name {name!r}: 1-200 characters without spaces and ~^:?*[\\")
    bad_part = any(not part or part.startswith(".") or part.endswith(".lock") for part in name.split("/"))
    if bad_part or ".." in name or "@{" in name or name.startswith(("-", "refs/")) or name.endswith("."):
        raise HttpError(400, f"Invalid {what} name {name!r}: git does not allow it")
    if re.fullmatch(r"[0-9a-f]{40}", name):
        raise HttpError(400, f"Invalid {what} name {name!r}: it looks like a commit id")
    return name


def check_path(path: object) -> str:
    """Return ``path`` if it is a plain relative path that is safe in every working copy.

    Raises:
        HttpError: 400; absolute, empty, too deep, with ``.``/``..`` parts, backslashes or control characters, or in
            ``.git``.
    """
    if not isinstance(path, str) or not path or len(path.encode("utf-8", "replace")) > MAX_PATH_BYTES:
        raise HttpError(400, f"Invalid path {str(path)[:200]!r}: expected 1-{MAX_PATH_BYTES} bytes of text")
    parts = path.split("/")
    if len(parts) > MAX_DEPTH:
        raise HttpError(400, f"Invalid path {path[:200]!r}: it has more than {MAX_DEPTH} parts")
    if "\\" in path or _CONTROL.search(path) or any(part in ("", ".", "..") for part in parts):
        raise HttpError(400, f"Invalid path {path!r}: it must be relative, without '.', '..', '\\' or control codes")
    if any(part.lower() == ".git" for part in parts) or re.match(r"^[A-Za-z]:", path):
        raise HttpError(400, f"Invalid path {path!r}: it would leave the repository in a working copy")
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise HttpError(400, f"Invalid path {path!r}: it is not valid Unicode") from error
    return path
