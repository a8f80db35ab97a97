"""What is not on this machine: how much could be looked at, and which verdicts must not be drawn from gaps.

A clone without content is a sound dataset of which little can be seen. What the reference validator says of absent
content is set aside and counted, never passed on as a defect, and never dropped in silence.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from release_kit.bids.validate.codes import finding
from release_kit.bids.validate.finding import Finding
from release_kit.bids.validate.reference import Verdict
from release_kit.bids.validate.report import Unchecked
from release_kit.bids.validate.survey import Entry, Part, Survey
from release_kit.core.wording import counted

OF_ABSENT = {"NIFTI_HEADER_UNREADABLE", "SYMLINK_BROKEN", "JSON_INVALID", "EMPTY_FILE", "FILE_READ", "TSV_EMPTY_LINE"}
"""What the reference validator says when content is not there."""
OF_SIDECARS = "SIDECAR_KEY_"
"""Codes that may follow from a sidecar that could not be read begin so."""
_EXAMPLES = 5


def headers_needed(part: Part, content: bool | None) -> bool:
    """Return whether the reference validator should read NIfTI headers: any is here, or all should be."""
    images = list(part.images())
    if content is not None:
        return content
    return not images or any(image.readable for image in images)


def check_content(survey: Survey, content: bool | None) -> Iterator[Finding]:
    """Yield how much content is not here: a note, or an error where it was demanded."""
    for part in survey.parts:
        absent = [entry for entry in part.entries if entry.absent]
        if absent:
            known = sum(max(entry.size_bytes, 0) for entry in absent)
            what = f"{len(absent):,} of {counted(len(part.entries), 'file')} are not here ({known / 1e9:,.3f} GB)"
            yield finding("content-demanded" if content else "content-absent", part.path, what)
    for path in survey.empty:
        yield finding("content-demanded" if content else "dataset-not-installed", path, "the folder is empty")


def without_gaps(survey: Survey, verdict: Verdict) -> tuple[Verdict, list[Unchecked]]:
    """Return the verdict without what it only says because content is absent, and what was set aside."""
    part = next(part for part in survey.parts if part.path == verdict.dataset)
    kept, headers, keys = [], [], []
    for one in verdict.findings:
        entry = survey.by_path.get(one.path)
        if entry is not None and entry.absent and one.code in OF_ABSENT:
            headers.append(one.path)
        elif entry is not None and one.code.startswith(OF_SIDECARS) and _lacks_sidecar(survey, part, entry):
            keys.append(one.path)
        else:
            kept.append(one)
    aside = [
        *_unchecked("content of files that are not here (by the reference validator)", headers),
        *_unchecked("keys of sidecars that are not here", keys),
    ]
    if not verdict.headers_read:
        images = [image.path for image in part.images()]
        aside += _unchecked("headers of images against their sidecars (by the reference validator)", images)
    return replace(verdict, findings=tuple(kept)), aside


def not_looked_at(survey: Survey, *, read: bool) -> list[Unchecked]:
    """Return what our own checks could not see."""
    images = [image for part in survey.parts for image in part.images()]
    blind = [image.path for image in images if not image.readable or not read]
    tables = [e.path for e in survey.entries if e.absent and e.extension in (".tsv", ".json", ".tsv.gz")]
    aside = _unchecked("images: damage, equal content beyond annex keys, lengths of runs", blind)
    aside += _unchecked("tables and sidecars that are not here", tables)
    aside += _unchecked("content searched for identifying data", [e.path for e in survey.entries if e.absent])
    return aside + _unchecked("by the reference validator: derivatives that are no dataset", survey.loose)


def _lacks_sidecar(survey: Survey, part: Part, entry: Entry) -> bool:
    return any(sidecar.absent for sidecar in survey.inherited(part, entry, entry.suffix))


def _unchecked(what: str, paths: Iterable[str]) -> list[Unchecked]:
    ordered = sorted(set(paths))
    return [Unchecked(what=what, n=len(ordered), examples=tuple(ordered[:_EXAMPLES]))] if ordered else []
