"""Parts of the names in the lab: ``tanaka_yuki`` is found as ``Yuki``, ``TANAKA`` and with other widths or accents.

Owns how a name is taken apart, and the search that sees through case, width and accents. The search for words as they
are written is ``leak_words.py``'s.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator

MIN_LETTERS = 3
_MIN_IDEOGRAPHS = 2
_IDEOGRAPHS = re.compile(r"[\u3400-\u9fff]+")
_OF_LABS = frozenset({
    "acq", "anat", "bids", "brain", "code", "data", "day", "for", "and", "group", "human", "lab", "labs", "study",
    "visit", "volunteer", "bold", "control", "controls", "ctrl", "dataset", "dcm", "dicom", "exp", "experiment",
    "fmri", "func", "mri", "nifti", "nii", "participant", "participants", "part", "pat", "patient", "patients",
    "person", "pilot", "pre", "post", "proband", "raw", "rec", "run", "scan", "scanner", "scans", "ses", "session",
    "sessions", "sub", "subj", "subject", "subjects", "test", "tester", "the", "von", "van", "der", "den", "del",
})  # fmt: skip
"""What folders of labs are called besides the name of whoever was in the scanner."""
_VOICING = "\u3099\u309a"
_ESCAPE = re.compile(r"\\u([0-9a-f]{4})")


class NamePart(str):
    """A part of a name: it counts where it stands as a word, in whatever case, width and with whatever accents."""

    __slots__ = ()


def name_parts(names: Iterable[str], ordinary: Iterable[str] = ()) -> tuple[NamePart, ...]:
    """Return the parts of names that are searched for by themselves, sorted; each once, whatever its spelling.

    A name is cut at everything but letters and digits, before a capital inside of it, and where digits begin or end. A
    part has at least three letters or digits, two of them in Chinese or Japanese script; numbers are none.

    Args:
        names: names in the lab.
        ordinary: parts that tell nothing here: ordinary words, and what the dataset calls its tasks and subjects.
    """
    passed = {folded(word) for word in ordinary} | _OF_LABS
    found = {folded(part): part for name in names for part in _cut(unicodedata.normalize("NFC", name))}
    return tuple(sorted(NamePart(part) for key, part in found.items() if _tells(key) and key not in passed))


def _cut(name: str) -> Iterator[str]:
    for token in re.split(r"[\W_]+", name):
        yield token
        for letters in re.findall(r"[^\W\d_]+", token):
            yield letters
            yield from re.findall(r"[A-Z]?[^A-Z]+", letters)


def _tells(part: str) -> bool:
    if _IDEOGRAPHS.fullmatch(part):
        return len(part) >= _MIN_IDEOGRAPHS
    bare = part.rstrip("0123456789")
    return len(part) >= MIN_LETTERS and bare not in _OF_LABS and not part.isdecimal()


def folded(text: str) -> str:
    """Return a text without case, width and accents; ``folded(folded(x)) == folded(x)``."""
    apart = unicodedata.normalize("NFKD", text).casefold()
    bare = "".join(one for one in apart if one in _VOICING or not unicodedata.combining(one))
    return unicodedata.normalize("NFC", bare)


def wide(text: str) -> str:
    """Return an ASCII text in the full-width letters of Japanese keyboards."""
    return "".join(chr(ord(one) + 0xFEE0) if "!" <= one <= "~" else one for one in text)


class PartFinder:
    """Searches text with other letters than ASCII for parts of names."""

    def __init__(self, parts: Iterable[NamePart]):
        self._patterns = {part: re.compile(rf"(?<![a-z]){re.escape(folded(part))}(?![a-z])") for part in parts}

    def search(self, window: bytes, last: bool) -> Iterator[tuple[NamePart, int]]:
        """Yield (part, where the line begins that holds it) for a piece of text, ASCII letters of it in lower case.

        Args:
            window: the piece.
            last: False when more follows; what stands at the very end is left to the next piece then.
        """
        if not self._patterns or (window.isascii() and b"\\u" not in window):
            return
        start = 0
        for line in window.split(b"\n"):
            if not line.isascii() or b"\\u" in line:
                ends = not last and start + len(line) == len(window)
                yield from ((part, start) for part in self._in_line(line, ends))
            start += len(line) + 1

    def _in_line(self, line: bytes, cut: bool) -> Iterator[NamePart]:
        readings = [line.decode("utf-8", "replace")]
        if "\ufffd" in readings[0]:
            readings.append(line.decode("cp1252", "replace"))
        for reading in readings:
            text = folded(_ESCAPE.sub(lambda found: chr(int(found[1], 16)), reading))
            for part, pattern in self._patterns.items():
                if any(not cut or found.end() < len(text) for found in pattern.finditer(text)):
                    yield part
