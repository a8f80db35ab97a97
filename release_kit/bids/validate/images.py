"""Images against their labels: damaged, stored twice, unlike their siblings, or with a TR that contradicts the sidecar.

Owns the one look at every image (``heads.py``) that the checks of events and annotations share. What is not on this
machine is compared by its annex key only.
"""

import math
import os
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from release_kit.bids.recordings.header import ImageFacts, RecordingError
from release_kit.bids.validate.codes import finding
from release_kit.bids.validate.finding import WARNING, Finding
from release_kit.bids.validate.heads import Head, Truncated, content_digest, read_head
from release_kit.bids.validate.survey import Entry, Part, Survey

SAMPLE_BYTES = 1 << 16
LONGEST_TR_S = 3600.0
"""No volume takes longer; a run whose TR says so has no length that anything could be held against."""
_CONTENT_BACKENDS = ("SHA", "MD5", "BLAKE", "SKEIN")
"""Annex keys of other backends (WORM, URL) do not stand for content."""


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What the images of a dataset say of themselves."""

    heads: Mapping[str, Head]
    """Path → head, of every image that could be read."""
    findings: tuple[Finding, ...]

    def duration_s(self, survey: Survey, part: Part, entry: Entry) -> tuple[float, float] | None:
        """Return how long a run is and its TR; None where the header is not known or neither place names a TR."""
        head = self.heads.get(entry.path)
        if head is None:
            return None
        declared = _number(survey.metadata(part, entry).get("RepetitionTime"))
        tr = next((tr for tr in (declared, head.facts.tr_s) if tr is not None and 0 < tr <= LONGEST_TR_S), None)
        return (head.facts.n_volumes * tr, tr) if tr else None


def look_at_images(survey: Survey, *, read: bool = True) -> Looked:
    """Read the head of every image of the dataset and its derivatives.

    Args:
        survey: the dataset.
        read: False opens nothing.
    """
    heads: dict[str, Head] = {}
    found: list[Finding] = []
    for entry in (image for part in survey.parts for image in part.images()) if read else ():
        if not entry.readable:
            continue
        try:
            heads[entry.path] = read_head(survey.folder / entry.path)
        except Truncated as error:
            found.append(finding("image-truncated", entry.path, str(error)))
        except RecordingError as error:
            found.append(finding("image-unreadable", entry.path, error.what))
        except (OSError, zlib.error, EOFError) as error:
            found.append(finding("image-unreadable", entry.path, f"cannot be read: {error}"))
    return Looked(heads=heads, findings=tuple(found))


def check_images(survey: Survey, looked: Looked) -> Iterator[Finding]:
    """Yield what is wrong with the images of every part."""
    yield from looked.findings
    for part in survey.parts:
        images = list(part.images())
        kept = images if part.path == "." else [image for image in images if image.suffix == "bold"]
        yield from _twice(survey, kept, looked)
        yield from _unlike(kept, looked)
        yield from _lengths(kept, looked)
        yield from _repetition_times(survey, part, images, looked)


def _twice(survey: Survey, images: Iterable[Entry], looked: Looked) -> Iterator[Finding]:
    """Group by what costs nothing (annex key, notes of gzip, size), then make sure by reading the candidates."""
    by_key: dict[str, list[Entry]] = defaultdict(list)
    by_hint: dict[Hashable, list[Entry]] = defaultdict(list)
    for image in images:
        if image.key and image.key.startswith(_CONTENT_BACKENDS):
            by_key[image.key].append(image)
        if head := looked.heads.get(image.path):
            by_hint[head.trailer or image.size_bytes].append(image)
    reported: set[frozenset[str]] = set()
    for same in [*by_key.values(), *_confirmed(survey, by_hint.values(), looked)]:
        paths = frozenset(image.path for image in same)
        if len(same) > 1 and paths not in reported:
            reported.add(paths)
            yield _same(same)


def _confirmed(survey: Survey, groups: Iterable[list[Entry]], looked: Looked) -> Iterator[list[Entry]]:
    for group in groups:
        if len(group) < 2:
            continue
        packed = looked.heads[group[0].path].trailer is not None
        for sampled in [group] if packed else _grouped(group, lambda entry: _sample(survey, entry)):
            if len(sampled) > 1:
                yield from _grouped(sampled, lambda entry: _digest(survey, entry))


def _grouped(entries: Iterable[Entry], of: Callable[[Entry], Hashable]) -> list[list[Entry]]:
    groups: dict[Hashable, list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[of(entry)].append(entry)
    return list(groups.values())


def _digest(survey: Survey, entry: Entry) -> str:
    try:
        return content_digest(survey.folder / entry.path)
    except (OSError, zlib.error, Truncated):
        return f"unreadable {entry.path}"


def _sample(survey: Survey, entry: Entry) -> bytes:
    try:
        with open(survey.folder / entry.path, "rb") as stream:
            stream.seek(entry.size_bytes // 2, os.SEEK_SET)
            return stream.read(SAMPLE_BYTES)
    except OSError:
        return entry.path.encode()


def _same(images: list[Entry]) -> Finding:
    first, *others = sorted(images, key=lambda entry: entry.path)
    names = ", ".join(other.path for other in others)
    anatomy = first.path.split("/")[-2:-1] == ["anat"] and len({one.entities.get("sub") for one in images}) == 1
    return finding(
        "content-under-two-labels", first.path, f"the same image as {names}", severity=WARNING if anatomy else None
    )


def _unlike(images: Iterable[Entry], looked: Looked) -> Iterator[Finding]:
    def kind(entry: Entry) -> tuple:
        own = {key: value for key, value in entry.entities.items() if key not in ("sub", "ses", "run")}
        return entry.suffix, tuple(sorted(own.items()))

    known = [image for image in images if image.path in looked.heads]
    for group in _grouped(known, kind):
        for name, of in _FACTS.items():
            values = {image.path: of(looked.heads[image.path].facts) for image in group}
            ranked = Counter(values.values()).most_common()
            if len(ranked) > 1:
                usual, n = ranked[0]
                for path, value in values.items():
                    if value != usual:
                        yield finding("header-differs", path, f"{name} is {value}, {n} of {len(group)} have {usual}")


_FACTS: Mapping[str, Callable[[ImageFacts], Any]] = {
    "matrix": lambda facts: " x ".join(map(str, facts.shape)),
    "voxel size": lambda facts: " x ".join(f"{size:.3f}" for size in facts.voxel_mm) + " mm",
    "orientation": lambda facts: facts.orientation,
    "TR": lambda facts: "not given" if facts.tr_s is None else f"{facts.tr_s:g} s",
}


def _lengths(images: Iterable[Entry], looked: Looked) -> Iterator[Finding]:
    def run(entry: Entry) -> tuple:
        own = {key: value for key, value in entry.entities.items() if key not in ("sub", "ses")}
        return entry.suffix, tuple(sorted(own.items()))

    known = [image for image in images if image.suffix == "bold" and image.path in looked.heads]
    for group in _grouped(known, run):
        counts = Counter(looked.heads[image.path].facts.n_volumes for image in group)
        usual, n = counts.most_common(1)[0]
        if len(group) < 3 or n < 2 * len(group) / 3:
            continue
        for image in group:
            volumes = looked.heads[image.path].facts.n_volumes
            if volumes != usual:
                what = f"{volumes:,} volumes, {n} of {len(group)} subjects have {usual:,}"
                yield finding("run-length-differs", image.path, what)


def _repetition_times(survey: Survey, part: Part, images: Iterable[Entry], looked: Looked) -> Iterator[Finding]:
    for image in images:
        head = looked.heads.get(image.path)
        if head is None or image.suffix != "bold" or head.facts.tr_s is None:
            continue
        declared = _number(survey.metadata(part, image).get("RepetitionTime"))
        if declared is not None and abs(declared - head.facts.tr_s) > 0.001:
            unit = "" if head.facts.tr_unit_known else " (the header names no unit; seconds are taken)"
            what = f"the sidecar says {declared:g} s, the header {head.facts.tr_s:g} s{unit}"
            yield finding("tr-differs", image.path, what)


def _number(value: Any) -> float | None:
    """Return a number of a JSON file; one that is beyond all floats is infinite."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf
