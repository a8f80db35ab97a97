"""Files of word vectors: word2vec's text and binary forms, and GloVe's text; only the words that are needed are kept.

A file is read once from its start to its end, line by line, so its size is no matter. All lines are held against the
length of the first one, also those of words that nobody asked for: a damaged file is not half used.
"""

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from release_kit.core.wording import counted, printable
from release_kit.encoding.arrays import FloatArray
from release_kit.encoding.errors import FeatureError

_MOST_SHOWN = 5
_LONGEST_WORD_BYTES = 4096


def read_word_vectors(path: Path, wanted: Collection[str]) -> tuple[FloatArray, dict[str, int]]:
    """Return the vectors of the wanted words that a file has: ``(n_words, width) float32``, and word → row.

    The form is known by the content: ``.bin`` files begin with a line ``n width`` and hold binary numbers; text files
    may begin with such a line (word2vec) or not (GloVe). Where a word comes twice, the first one counts.

    Args:
        path: the file.
        wanted: words, as they stand in the file.

    Raises:
        FeatureError: it cannot be read, or lines are ragged or hold no numbers; the first lines are named.
    """
    try:
        with open(path, "rb") as stream:
            width, n_words = _header(stream, path)
            read = _binary if _is_binary(path) else _text
            pairs = read(stream, width, n_words, path)
            wanted_bytes = {word.encode("utf-8", "surrogatepass") for word in wanted}
            found: dict[str, np.ndarray] = {}
            for word, values in pairs:
                if word in wanted_bytes:
                    found.setdefault(word.decode("utf-8", "surrogatepass"), _numbers(word, values, path))
    except OSError as error:
        raise FeatureError(f"word vectors cannot be read ({error.strerror})", where=str(path)) from error
    words = sorted(found)
    if not words:
        step = "these are vectors of another language, or no word vectors at all"
        raise FeatureError(f"has none of the {counted(len(wanted), 'word')} of the texts", where=str(path),
                           next_step=step)  # fmt: skip
    table = np.stack([found[word] for word in words])
    if not np.isfinite(table).all():
        bad = [word for word, row in zip(words, table, strict=True) if not np.isfinite(row).all()]
        raise FeatureError(f"vectors hold values that are no numbers: {', '.join(bad[:_MOST_SHOWN])}", where=str(path))
    return table, {word: k for k, word in enumerate(words)}


def vector_width(path: Path) -> int:
    """Return the length of the vectors of a file, from its first line.

    Raises:
        FeatureError: it cannot be read, or does not begin as such files do.
    """
    try:
        with open(path, "rb") as stream:
            return _header(stream, path)[0]
    except OSError as error:
        raise FeatureError(f"word vectors cannot be read ({error.strerror})", where=str(path)) from error


def _is_binary(path: Path) -> bool:
    return path.suffix == ".bin"


def _header(stream: BinaryIO, path: Path) -> tuple[int, int | None]:
    """Return the length of a vector, and the number of words where the file says it; the stream stands at the first."""
    first = stream.readline(1 << 20)
    parts = first.split()
    if len(parts) == 2 and all(part.isdigit() for part in parts) and int(parts[1]) > 1:
        return int(parts[1]), int(parts[0])
    if _is_binary(path):
        raise FeatureError("does not begin with the number of words and the length of a vector", where=str(path))
    stream.seek(0)
    if len(parts) < 3:
        raise FeatureError("line 1 is no word with its vector", where=str(path), next_step="name a file of vectors")
    return len(parts) - 1, None


def _text(stream: BinaryIO, width: int, n_words: int | None, path: Path) -> Iterator[tuple[bytes, list[bytes]]]:
    """Yield every word and its values; a word may hold blanks, as some of GloVe's do."""
    problems: list[str] = []
    n_wrong = n_read = 0
    for number, line in enumerate(stream, start=1 if stream.tell() == 0 else 2):
        stripped = line.rstrip()
        if not stripped:
            continue
        n_read += 1
        word, *values = stripped.rsplit(b" ", width)
        if len(values) == width and _are_numbers(values) and not (b" " in word and _is_number(word.rsplit(b" ")[-1])):
            yield word, values
            continue
        n_wrong += 1
        if len(problems) < _MOST_SHOWN:
            n_fields = len(stripped.split(b" ")) - 1
            shown = printable(word[:20].decode("utf-8", "replace"))
            problems.append(f"line {number} ({shown!r}) has {n_fields} values, expected {width} numbers")
    if not problems and n_words is not None and n_read < n_words:
        problems = [f"ends after {n_read:,} of {n_words:,} words"]
    if problems:
        more = f"; {n_wrong} such lines in all" if n_wrong > len(problems) else ""
        step = "the file is damaged or cut off: get it again"
        raise FeatureError("; ".join(problems) + more, where=str(path), next_step=step)


def _are_numbers(values: list[bytes]) -> bool:
    """Return whether the first and the last are numbers; all of them are parsed where the word is wanted."""
    return _is_number(values[0]) and _is_number(values[-1])


def _numbers(word: bytes, values: Iterable, path: Path) -> FloatArray:
    try:
        return np.array([float(value) for value in values], np.float32)
    except ValueError as error:
        shown = printable(word.decode("utf-8", "replace"))
        raise FeatureError(f"the vector of {shown!r} holds what is no number", where=str(path)) from error


def _is_number(value: bytes) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _binary(stream: BinaryIO, width: int, n_words: int | None, path: Path) -> Iterator[tuple[bytes, np.ndarray]]:
    size = 4 * width
    for number in range(1, (n_words or 0) + 1):
        word = bytearray()
        while (letter := stream.read(1)) not in (b" ", b"") and len(word) < _LONGEST_WORD_BYTES:
            word += letter
        values = stream.read(size)
        if letter != b" " or len(values) != size:
            step = "the file is damaged or cut off: get it again"
            raise FeatureError(f"ends in word {number:,} of {n_words:,}", where=str(path), next_step=step)
        yield bytes(word.lstrip(b"\n")), np.frombuffer(values, "<f4")
