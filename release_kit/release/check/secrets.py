"""Secrets and traces of people in what will be published: tokens, keys, passwords, paths of home folders.

Text is read in blocks, to a limit; safetensors files give their header only. Equal contents are searched once. What is
found is named by kind, place and length: a report never holds the secret itself.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from release_kit.core.cell import CELL_FILE, CELLS_FOLDER
from release_kit.core.collect import EVAL_FOLDER
from release_kit.core.files import iter_files
from release_kit.core.manifest import RELEASE_FOLDER
from release_kit.core.study import STUDY_FILE
from release_kit.release.check.codes import problem
from release_kit.release.check.problem import Problem
from release_kit.release.check.views import Survey

BLOCK_BYTES = 1 << 20
OVERLAP_BYTES = 4096
"""The end of a block is searched again with the next one; longer secrets are recognised by their beginning."""

MAX_TEXT_BYTES = 64 << 20
MAX_HEADER_BYTES = 16 << 20

SECRET, HOME = "secret", "home-path"
CREDENTIAL = "a credential"


@dataclass(frozen=True, kw_only=True)
class _Pattern:
    """One kind of find: plain pieces of text that must be there (fast), and the expression that decides."""

    code: str
    kind: str
    pieces: tuple[bytes, ...]
    expression: re.Pattern[bytes]


def _pattern(code: str, kind: str, pieces: str, expression: str) -> _Pattern:
    return _Pattern(
        code=code, kind=kind, pieces=tuple(pieces.encode().split()), expression=re.compile(expression.encode())
    )


_CREDENTIAL_KEYS = (
    "password passwd secret_key client_secret api_key api-key apikey access_token auth_token hub_token hf_token "
    "aws_secret_access_key private_key"
)
_PATTERNS = (
    _pattern(SECRET, "a Hugging Face token", "hf_ api_org_", r"(?<![A-Za-z0-9_])(?:hf|api_org)_[A-Za-z0-9]{30,}"),
    _pattern(SECRET, "an OpenAI key", "sk-",
             r"(?<![A-Za-z0-9_-])sk-(?:(?:proj|svcacct|admin)-[A-Za-z0-9_-]{40,}|[A-Za-z0-9]{48}(?![A-Za-z0-9]))"),
    _pattern(SECRET, "an Anthropic key", "sk-ant-", r"(?<![A-Za-z0-9_-])sk-ant-[a-z0-9]{2,10}-[A-Za-z0-9_-]{40,}"),
    _pattern(SECRET, "an AWS access key", "AKIA ASIA", r"(?<![A-Za-z0-9])A(?:KI|SI)A[A-Z2-7]{16}(?![A-Za-z0-9])"),
    _pattern(SECRET, "a GitHub token", "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_",
             r"(?<![A-Za-z0-9_])(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,})"),
    _pattern(SECRET, "a GitLab token", "glpat-", r"(?<![A-Za-z0-9_-])glpat-[A-Za-z0-9_-]{20,}"),
    _pattern(SECRET, "a Slack token", "xox", r"(?<![A-Za-z0-9])xox[abprs]-[A-Za-z0-9-]{10,}"),
    _pattern(SECRET, "a Google key", "AIza", r"(?<![A-Za-z0-9_-])AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
    _pattern(SECRET, "a private key", "PRIVATE", r"-----BEGIN (?:[A-Z]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"),
    _pattern(SECRET, "a password in an address", "://",
             r"://[^/\s:@\"'<>{}$]{1,128}:[^/\s:@\"'<>{}$]{3,256}@[A-Za-z0-9\[]"),
    _pattern(SECRET, CREDENTIAL, _CREDENTIAL_KEYS,
             rf"(?i:{'|'.join(_CREDENTIAL_KEYS.split())})[\"']?\s*[:=]\s*[\"']?(?![<$*{{\[]|null\b|None\b|true\b|false\b|hf_|sk-)"
             r"[A-Za-z0-9+/_.~=-]{8,}"),
    _pattern(HOME, "a path in a home folder", "/home/ /Users/",
             r"(?<![A-Za-z0-9_.-])/(?:home|Users)/(?!\$|<|\{)[A-Za-z0-9_][A-Za-z0-9_.-]*(?=[/\"'\s\\]|$)"),
    _pattern(HOME, "a path in a home folder", "Users\\",
             r"(?<![A-Za-z])[A-Za-z]:\\{1,4}Users\\{1,4}[A-Za-z0-9_][^\\\"\r\n]{0,60}\\"),
)  # fmt: skip

_EMPTY_SECTION = re.compile(rb"<!-- release_kit:hand-written [a-z0-9-]+ -->\s*<!-- /release_kit:hand-written -->")
CREDENTIAL_FILES = frozenset(
    {".env", ".netrc", ".git-credentials", ".npmrc", ".pypirc", "id_rsa", "id_ed25519", "id_ecdsa", "credentials"}
)
VOCABULARIES = frozenset({"tokenizer.json", "vocab.json", "merges.txt", "vocab.txt", "added_tokens.json"})
"""Pieces of web text: a path in them belongs to nobody here, and every word may stand before a colon."""


@dataclass(frozen=True, kw_only=True)
class Find:
    """One find: what kind of secret, in which line, how long."""

    code: str
    kind: str
    line: int
    n_characters: int


def check_secrets(survey: Survey) -> Iterator[Problem]:
    """Yield everything in files on their way to the public that should stay at home; one problem a kind and file."""
    searched: dict[tuple[str, bool], list[Find] | None] = {}
    for cell_id, path, file, sha256 in _files(survey):
        where = f"{survey.name(cell_id)}: {path.rsplit('/', 1)[-1]}" if cell_id else path
        if file.name in CREDENTIAL_FILES:
            yield problem(SECRET, where, "is a file of credentials by its name", cell_id=cell_id, path=path)
        key = (sha256 or path, file.name in VOCABULARIES)
        if key not in searched:
            searched[key] = find_secrets(file)
        finds = searched[key]
        if finds is None:
            what = f"searched for secrets in its first {MAX_TEXT_BYTES >> 20} MiB only"
            yield problem("scan-bounded", where, what, cell_id=cell_id, path=path)
        yield from _problems(finds or [], where, path, cell_id)


def find_secrets(file: Path) -> list[Find] | None:
    """Search one file; binary files are not text and give nothing.

    Returns:
        The finds, or None when the file is larger than the limit and nothing was found up to there.
    """
    try:
        with open(file, "rb") as stream:
            if file.suffix == ".safetensors":
                length = int.from_bytes(stream.read(8), "little")
                return _search(stream.read(min(length, MAX_HEADER_BYTES)), 1, vocabulary=False)
            finds, line, carry, n_read = [], 1, b"", 0
            while block := stream.read(BLOCK_BYTES):
                if n_read == 0 and b"\0" in block[:8192]:
                    return []
                n_read += len(block)
                text = carry + block
                finds += _search(text, line, vocabulary=file.name in VOCABULARIES)
                if n_read >= MAX_TEXT_BYTES:
                    return finds or (None if stream.read(1) else [])
                carry = text[-OVERLAP_BYTES:]
                line += text.count(b"\n", 0, len(text) - len(carry))
            return finds
    except OSError:
        return []  # reported as unreadable by the weights family


def _search(text: bytes, first_line: int, *, vocabulary: bool) -> list[Find]:
    finds = []
    lower = text.lower()
    for pattern in _PATTERNS:
        if vocabulary and (pattern.code == HOME or pattern.kind == CREDENTIAL):
            continue
        if not any(piece in (lower if pattern.kind == CREDENTIAL else text) for piece in pattern.pieces):
            continue
        for match in pattern.expression.finditer(text):
            line = first_line + text.count(b"\n", 0, match.start())
            n_characters = match.end() - match.start()
            finds.append(Find(code=pattern.code, kind=pattern.kind, line=line, n_characters=n_characters))
    return finds


def _problems(finds: list[Find], where: str, path: str, cell_id: str | None) -> Iterator[Problem]:
    by_kind: dict[tuple[str, str], list[Find]] = {}
    for find in finds:
        by_kind.setdefault((find.code, find.kind), []).append(find)
    for (code, kind), found in by_kind.items():
        lines = sorted({find.line for find in found})
        place = "the header" if path.endswith(".safetensors") else f"line {lines[0]}"
        more = f", and in {len(lines) - 1} more lines" if len(lines) > 1 else ""
        length = f" ({found[0].n_characters} characters)" if code == SECRET else ""
        yield problem(code, where, f"{place} holds {kind}{length}{more}", cell_id=cell_id, path=path)


def _files(survey: Survey) -> Iterator[tuple[str | None, str, Path, str | None]]:
    """Yield ``(cell_id, path, file, sha256)`` of everything that is published as it lies there."""
    for cell_id, view in survey.cells.items():
        for file in view.files:
            if file.released and file.sha256 is not None:
                yield cell_id, file.path, file.file, file.sha256
        folder = f"{CELLS_FOLDER}/{cell_id}"
        yield cell_id, f"{folder}/{CELL_FILE}", survey.study.folder / folder / CELL_FILE, None
        evaluations = survey.study.folder / folder / EVAL_FOLDER
        for inner, _ in iter_files(evaluations) if evaluations.is_dir() else ():
            yield cell_id, f"{folder}/{EVAL_FOLDER}/{inner}", evaluations / inner, None
    sources = {row.source for row in survey.results if row.source and not row.source.startswith(f"{CELLS_FOLDER}/")}
    for source in sorted(sources):
        yield None, source, survey.study.folder / source, None
    yield None, STUDY_FILE, survey.study.folder / STUDY_FILE, None
    release = survey.study.folder / RELEASE_FOLDER
    folders = [release / "index", release / "results", *_children(release / "cells")]
    for card in (folder / "README.md" for folder in folders):
        if _has_words(card):
            yield None, card.relative_to(survey.study.folder).as_posix(), card, None


def _has_words(card: Path) -> bool:
    """Return whether people wrote into a card; all else in it comes from files that are searched themselves."""
    try:
        text = card.read_bytes()
    except OSError:
        return False
    return b"release_kit:hand-written" in _EMPTY_SECTION.sub(b"", text) or b"release_kit:trace" not in text


def _children(folder: Path) -> list[Path]:
    return [folder / name for name in sorted(os.listdir(folder))] if folder.is_dir() else []
