"""Path patterns of ``.gitattributes`` and ``.gitignore``: which files are large, which are left out.

Pure. The default attributes are the suffixes that the Hub stores as large files.
"""

import re
from functools import lru_cache

LARGE_SUFFIXES = (
    "7z",
    "arrow",
    "avro",
    "bin",
    "bz2",
    "ckpt",
    "dds",
    "ftz",
    "gguf",
    "gz",
    "h5",
    "joblib",
    "keras",
    "lz4",
    "mds",
    "mlmodel",
    "model",
    "msgpack",
    "npy",
    "npz",
    "onnx",
    "ot",
    "parquet",
    "pb",
    "pickle",
    "pkl",
    "pt",
    "pth",
    "rar",
    "safetensors",
    "tar",
    "tflite",
    "tgz",
    "wasm",
    "xz",
    "zip",
    "zst",
)
LARGE_PATTERNS = ("saved_model/**/*", "*tfevents*")
LARGE_SIZE_BYTES = 10 << 20

DEFAULT_ATTRIBUTES = "".join(
    f"{pattern} filter=lfs diff=lfs merge=lfs -text\n"
    for pattern in sorted([f"*.{suffix}" for suffix in LARGE_SUFFIXES] + list(LARGE_PATTERNS))
).encode()


@lru_cache(maxsize=256)
def large_matcher(attributes: str) -> "tuple[tuple[re.Pattern, bool], ...]":
    """Return the rules of a ``.gitattributes`` text as ``(pattern, is large)``; the last match decides."""
    rules = []
    for line in attributes.splitlines():
        fields = line.split()
        if len(fields) < 2 or line.startswith("#"):
            continue
        if "filter=lfs" in fields[1:]:
            rules.append((_compile(fields[0]), True))
        elif "-filter" in fields[1:] or "!filter" in fields[1:]:
            rules.append((_compile(fields[0]), False))
    return tuple(rules)


def is_large(path: str, size: int, sample: bytes, attributes: str) -> bool:
    """Return whether a file is stored outside git: by its name, its size, or because it is not text."""
    if size == 0:
        return False
    verdict = last_match(large_matcher(attributes), path)
    return verdict if verdict is not None else size > LARGE_SIZE_BYTES or is_binary(sample)


def is_binary(sample: bytes) -> bool:
    """Return whether the beginning of a file holds a NUL or is not UTF-8 (a cut last character is fine)."""
    if b"\0" in sample:
        return True
    try:
        sample.decode("utf-8")
    except UnicodeDecodeError as error:
        return not (error.start >= len(sample) - 3 and error.reason == "unexpected end of data")
    return False


@lru_cache(maxsize=64)
def ignore_matcher(gitignore: str) -> "tuple[tuple[re.Pattern, bool], ...]":
    """Return the rules of a ``.gitignore`` text as ``(pattern, is ignored)``; the last match decides."""
    rules = []
    for line in gitignore.splitlines():
        text = line.rstrip()
        if not text or text.startswith("#"):
            continue
        negated = text.startswith("!")
        rules.append((_compile(text.removeprefix("!"), ignore=True), not negated))
    return tuple(rules)


def last_match(rules: "tuple[tuple[re.Pattern, bool], ...]", path: str) -> bool | None:
    """Return what the last matching rule says about ``path``, None when none matches."""
    for pattern, verdict in reversed(rules):
        if pattern.fullmatch(path):
            return verdict
    return None


def _compile(pattern: str, *, ignore: bool = False) -> re.Pattern:
    folder_only = pattern.endswith("/")
    body = pattern.strip("/")
    anchored = "/" in body or pattern.startswith("/")
    text = "" if anchored else "(?:.*/)?"
    text += _translate(body)
    if folder_only:
        text += "/.+"
    elif ignore:
        text += "(?:/.+)?"
    return re.compile(text, re.DOTALL)


def _translate(body: str) -> str:
    out, at = [], 0
    for match in re.finditer(r"\*\*/|/\*\*$|\*|\?|\[[^]/]+\]", body):
        out.append(re.escape(body[at : match.start()]))
        token = match.group()
        simple = {"**/": "(?:.*/)?", "/**": "/.+", "*": "[^/]*", "?": "[^/]"}
        out.append(simple.get(token) or _one_of(token[1:-1]))
        at = match.end()
    return "".join(out) + re.escape(body[at:])


def _one_of(characters: str) -> str:
    """Return the expression of ``[…]``; a range that runs backwards matches nothing, as in git."""
    inner = characters.replace("\\", r"\\").replace("[", r"\[")
    text = f"[^{inner[1:]}]" if inner[0] in "!^" and len(inner) > 1 else f"[{inner}]"
    try:
        re.compile(text)
    except re.error:
        return "(?!)"
    return text
