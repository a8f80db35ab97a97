"""Reader of ELAN documents (.eaf): time-aligned tiers and tiers that refer to them.

A referring annotation takes its parent's time; several with one parent share it in equal parts, as ELAN shows them.
Foreign XML is data: documents with entity or document type declarations are refused. Format: EAF 2.7 to 3.0 schemas.
"""

import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from release_kit.bids.annotations.cues import Cue, checked_span
from release_kit.bids.annotations.problems import Problems
from release_kit.bids.annotations.readers.textgrid import TierOptions, wanted_tiers, with_options
from release_kit.bids.annotations.times import minus, plus

Span = tuple[Decimal, Decimal]
"""Onset and duration in seconds."""


@dataclass(frozen=True, kw_only=True)
class _Annotation:
    id: str
    tier: str
    text: str
    slots: tuple[str, str] | None
    parent: str | None
    before: str | None
    """The annotation that stands before this one under the same parent."""


def read_elan(text: str, options: TierOptions, problems: Problems) -> list[Cue]:
    """Return the annotations of the wanted tiers, tier by tier; problems are noted."""
    root = _document(text, problems)
    if root is None:
        return []
    tiers = [tier for tier in root.iter("TIER") if tier.get("TIER_ID")]
    names = [tier.get("TIER_ID", "") for tier in tiers]
    wanted = wanted_tiers(
        [n for n, t in zip(names, tiers, strict=True) if len(t) or n in options.tiers], options, problems
    )
    every = [found for tier in tiers for found in _annotations(tier, problems)]
    annotations = {found.id: found for found in every}
    for identity, n in Counter(found.id for found in every).items():
        if n > 1:
            problems.add(f"{n} annotations have the id {identity!r}; ELAN gives each its own")
    spans = _spans(annotations, _slots(root, problems), wanted, problems)
    participants = {tier.get("TIER_ID"): tier.get("PARTICIPANT") for tier in tiers}
    cues = [
        with_options(_cue(found, spans[found.id]), options, participants[found.tier])
        for found in annotations.values()
        if found.tier in wanted and found.id in spans
    ]
    return [cue for cue in cues if cue]


def _cue(found: "_Annotation", span: Span) -> Cue:
    return Cue(onset_s=span[0], duration_s=span[1], text=found.text, tier=found.tier)


def _document(text: str, problems: Problems) -> ElementTree.Element | None:
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        problems.add("declares a document type or entities, which ELAN never writes; it is not read")
        return None
    try:
        root = ElementTree.fromstring(re.sub(r"^\s*<\?xml.*?\?>", "", text, count=1, flags=re.DOTALL))
    except ElementTree.ParseError as error:
        problems.add(f"is not well-formed XML ({error})", error.position[0])
        return None
    if root.tag != "ANNOTATION_DOCUMENT":
        problems.add(f"is no ELAN document: its root is {root.tag!r}")
        return None
    return root


def _slots(root: ElementTree.Element, problems: Problems) -> dict[str, Decimal]:
    """Return time slot → seconds; slots without a value have no entry."""
    header = root.find("HEADER")
    unit = (header.get("TIME_UNITS") if header is not None else None) or "milliseconds"
    if unit != "milliseconds":
        problems.add(f"counts its time in {unit!r}; only milliseconds have a meaning without the media file")
    found = {}
    for slot in root.iter("TIME_SLOT"):
        value = slot.get("TIME_VALUE")
        if value is not None and not re.fullmatch(r"-?\d{1,15}", value):
            problems.add(f"the time slot {slot.get('TIME_SLOT_ID')!r} has the value {value!r}")
        elif value is not None:
            found[slot.get("TIME_SLOT_ID", "")] = Decimal(value).scaleb(-3)
    return found


def _annotations(tier: ElementTree.Element, problems: Problems) -> list[_Annotation]:
    name, found = tier.get("TIER_ID", ""), []
    for holder in tier.iter("ANNOTATION"):
        for item in holder:
            identity = item.get("ANNOTATION_ID")
            if not identity or item.tag not in ("ALIGNABLE_ANNOTATION", "REF_ANNOTATION"):
                problems.add(f"tier {name!r} holds an annotation without id or of the kind {item.tag!r}")
                continue
            slots = (item.get("TIME_SLOT_REF1", ""), item.get("TIME_SLOT_REF2", ""))
            aligned = item.tag == "ALIGNABLE_ANNOTATION"
            found.append(
                _Annotation(
                    id=identity,
                    tier=name,
                    text=item.findtext("ANNOTATION_VALUE") or "",
                    slots=slots if aligned else None,
                    parent=None if aligned else item.get("ANNOTATION_REF"),
                    before=None if aligned else item.get("PREVIOUS_ANNOTATION"),
                )
            )
    return found


def _spans(
    annotations: Mapping[str, _Annotation], slots: Mapping[str, Decimal], wanted: set[str], problems: Problems
) -> dict[str, Span]:
    """Return annotation → span, of the wanted tiers and of what they refer to."""
    spans: dict[str, Span] = {}
    siblings: dict[tuple[str, str | None], list[str]] = {}
    for found in annotations.values():
        if found.slots is None:
            siblings.setdefault((found.tier, found.parent), []).append(found.id)
    siblings = {key: _ordered(among, annotations) for key, among in siblings.items()}
    for found in annotations.values():
        if found.tier in wanted:
            _span(found, annotations, slots, siblings, spans, problems)
    return spans


def _ordered(ids: list[str], annotations: Mapping[str, _Annotation]) -> list[str]:
    """Return ids so that each follows the one it names as before it; those without such a name keep their order."""
    after: dict[str | None, list[str]] = {}
    for each in ids:
        before = annotations[each].before
        after.setdefault(before if before in ids else None, []).append(each)
    ordered: list[str] = []
    waiting = list(reversed(after.get(None, [])))
    while waiting:
        ordered.append(waiting.pop())
        waiting += reversed(after.get(ordered[-1], []))
    return ordered if len(ordered) == len(ids) else ids


def _span(
    found: _Annotation,
    annotations: Mapping[str, _Annotation],
    slots: Mapping[str, Decimal],
    siblings: Mapping[tuple[str, str | None], list[str]],
    spans: dict[str, Span],
    problems: Problems,
) -> None:
    """Put the span of one annotation (and of its parents) into ``spans``; note why where there is none."""
    chain = [found]
    while chain[-1].slots is None:
        parent = annotations.get(chain[-1].parent or "")
        if parent is None or parent in chain:
            problems.add(
                f"tier {found.tier!r}: annotation {found.id} refers to {chain[-1].parent!r}, which is not there"
            )
            return
        chain.append(parent)
    for each in reversed(chain):
        if each.id in spans:
            continue
        span = _aligned(each, slots, problems) if each.slots else _part(each, spans, siblings)
        if span is None:
            return
        spans[each.id] = span


def _aligned(found: _Annotation, slots: Mapping[str, Decimal], problems: Problems) -> Span | None:
    onset, end = (slots.get(slot) for slot in found.slots or ("", ""))
    if onset is None or end is None:
        problems.add(
            f"tier {found.tier!r}: annotation {found.id} ({found.text[:30]!r}) has a time slot without a value; "
            "align it in ELAN"
        )
        return None
    n_before = len(problems.found)
    span = checked_span(onset, end, problems, None)
    if span is None:
        last = problems.found.pop(n_before)
        problems.add(f"tier {found.tier!r}: annotation {found.id} {last.what}")
    return span


def _part(found: _Annotation, spans: Mapping[str, Span], siblings: Mapping[tuple[str, str | None], list[str]]) -> Span:
    onset, duration = spans[found.parent or ""]
    among = siblings[(found.tier, found.parent)]
    begin, end = (
        plus(onset, (duration * (among.index(found.id) + step) / len(among)).quantize(Decimal("0.001")))
        for step in (0, 1)
    )
    return begin, minus(end, begin)
