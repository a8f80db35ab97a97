"""An ELAN document (.eaf 3.0) of one stimulus: a tier a source and speaker, times in whole milliseconds.

An annotation of no length gets one millisecond, since ELAN shows none without; the companion carries what was meant.
Format: EAF 3.0 schema of the Max Planck Institute for Psycholinguistics.
"""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence

from release_kit.bids.annotations.cues import Cue
from release_kit.bids.annotations.problems import Problems
from release_kit.bids.annotations.readers.elan import read_elan
from release_kit.bids.annotations.readers.textgrid import TierOptions
from release_kit.bids.annotations.table import Row
from release_kit.bids.annotations.times import end_of, exact, milliseconds
from release_kit.bids.annotations.tsv import MISSING
from release_kit.bids.annotations.writers.companion import Placed, Tier
from release_kit.bids.annotations.writers.tiers import laid_out

_OPTIONS = TierOptions(every=True, unknown=())
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
_INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"
_LINGUISTIC_TYPE = "default-lt"


def write_elan(rows: Sequence[Placed]) -> tuple[str, dict[str, Tier], list[Placed]]:
    """Return an ELAN document of rows of one stimulus: its text, its tiers, the rows in the order of the file."""
    tiers, filled = laid_out(rows, _span, lambda row: "")
    slots = _slots([placed for among in filled.values() for placed in among])
    root = _root()
    order = ElementTree.SubElement(root, "TIME_ORDER")
    for value, name in slots.items():
        ElementTree.SubElement(order, "TIME_SLOT", TIME_SLOT_ID=name, TIME_VALUE=str(value))
    count = 0
    for name, among in filled.items():
        count = _tier(root, name, among, slots, count)
    _definitions(root, sorted({placed.row.language for placed in rows}))
    ElementTree.indent(root)
    text = '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"
    return text, tiers, [placed for among in filled.values() for placed in among]


def reread_elan(text: str) -> list[Cue]:
    """Return the cues of a file of ``write_elan``; raises AnnotationError when somebody has broken it."""
    problems = Problems(path="ELAN document")
    cues = read_elan(text, _OPTIONS, problems)
    problems.refuse()
    return cues


def _span(row: Row) -> tuple[int, int]:
    onset = milliseconds(exact(row.onset_s))
    return onset, max(onset + 1, milliseconds(end_of(row.onset_s, row.duration_s)))


def _slots(rows: Sequence[Placed]) -> dict[int, str]:
    """Return time in milliseconds → name of its slot, in order of time."""
    values = sorted({value for placed in rows for value in _span(placed.row)})
    return {value: f"ts{n}" for n, value in enumerate(values, start=1)}


def _root() -> ElementTree.Element:
    """Return the document's head; its date is a constant, so that the same table gives the same bytes."""
    attributes = {"AUTHOR": "release_kit", "DATE": "1970-01-01T00:00:00+00:00", "FORMAT": "3.0", "VERSION": "3.0"}
    attributes |= {"xmlns:xsi": _INSTANCE, "xsi:noNamespaceSchemaLocation": _SCHEMA}
    root = ElementTree.Element("ANNOTATION_DOCUMENT", attributes)
    ElementTree.SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    return root


def _tier(root: ElementTree.Element, name: str, among: Sequence[Placed], slots: Mapping[int, str], count: int) -> int:
    """Append a tier; return how many annotations the document has now."""
    row = among[0].row
    attributes = {"TIER_ID": name, "LINGUISTIC_TYPE_REF": _LINGUISTIC_TYPE, "ANNOTATOR": _clean(row.annotator)}
    if row.speaker:
        attributes["PARTICIPANT"] = _clean(row.speaker)
    tier = ElementTree.SubElement(root, "TIER", attributes, LANG_REF=_clean(row.language))
    for placed in among:
        count += 1
        onset, end = _span(placed.row)
        holder = ElementTree.SubElement(tier, "ANNOTATION")
        where = {"ANNOTATION_ID": f"a{count}", "TIME_SLOT_REF1": slots[onset], "TIME_SLOT_REF2": slots[end]}
        item = ElementTree.SubElement(holder, "ALIGNABLE_ANNOTATION", where)
        value = ElementTree.SubElement(item, "ANNOTATION_VALUE")
        value.text = _clean(MISSING if placed.row.text is None else placed.row.text)
    return count


def _definitions(root: ElementTree.Element, languages: Sequence[str]) -> None:
    kind = {"LINGUISTIC_TYPE_ID": _LINGUISTIC_TYPE, "TIME_ALIGNABLE": "true", "GRAPHIC_REFERENCES": "false"}
    ElementTree.SubElement(root, "LINGUISTIC_TYPE", kind)
    for language in map(_clean, languages):
        ElementTree.SubElement(root, "LANGUAGE", LANG_ID=language, LANG_LABEL=language)


def _clean(text: str) -> str:
    """Return ``text`` without the characters that XML 1.0 has no form for."""
    return _NOT_XML.sub("\ufffd", text)
