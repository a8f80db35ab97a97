"""The few header fields that tell DICOM series apart, read without pydicom where a file is as plain as most are.

A run has thousands of files, and pydicom takes milliseconds for each. What is not plain (big endian, deflated,
non-ASCII text, odd values, a header cut short) raises ``Unsure``: then ``dicom.py`` asks pydicom, which judges.
Layout: DICOM PS3.5, sections 7.1 and 7.5; PS3.10, section 7.1.
"""

import re
import struct
from pathlib import Path

TAGS = {
    0x00080008: "ImageType", 0x00080016: "SOPClassUID", 0x00080060: "Modality", 0x0008103E: "SeriesDescription",
    0x00181030: "ProtocolName", 0x0020000E: "SeriesInstanceUID", 0x00200011: "SeriesNumber",
    0x00200013: "InstanceNumber", 0x00280008: "NumberOfFrames", 0x00280010: "Rows", 0x00280011: "Columns",
}  # fmt: skip
_LAST = max(TAGS)
_INTEGERS = {"SeriesNumber", "InstanceNumber", "NumberOfFrames"}
_SHORTS = {"Rows", "Columns"}
_BLOCKS = (1 << 14, 1 << 18)
"""Bytes that are read first, and where those do not suffice; more has to be asked of pydicom."""
_IMPLICIT, _EXPLICIT_PREFIX = "1.2.840.10008.1.2", "1.2.840.10008.1.2."
_OTHER = {"1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"}
"""Big endian and deflated."""
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
"""Value representations whose length takes four bytes."""
_SHORT = {
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS",
    b"ST", b"TM", b"UI", b"UL", b"US",
}  # fmt: skip
_ITEM, _ITEM_END, _SEQUENCE_END, _UNDEFINED = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD, 0xFFFFFFFF
_MAX_DEPTH = 16

Header = dict[str, str | int | list[str]]


class Unsure(Exception):
    """The file is not plain enough to be read here."""


def quick_header(path: Path) -> Header | None:
    """Return name → value of those ``TAGS`` that the file has; None for a file that is no DICOM.

    Raises:
        Unsure: pydicom has to be asked.
    """
    try:
        with open(path, "rb", buffering=0) as stream:
            for size in _BLOCKS:
                data = stream.read(size)
                whole = len(data) < size
                if data[128:132] != b"DICM":
                    return None
                try:
                    return _parse(data, whole)
                except (struct.error, IndexError):
                    if whole:
                        break
                stream.seek(0)
    except OSError as error:
        raise Unsure from error
    raise Unsure


def _parse(data: bytes, whole: bool) -> Header:
    syntax, at = _syntax(data)
    if (not syntax.startswith(_EXPLICIT_PREFIX) and syntax != _IMPLICIT) or syntax in _OTHER:
        raise Unsure
    explicit, found, before = syntax != _IMPLICIT, Header(), 0
    while not (whole and at == len(data)):
        tag, kind, length, at = _element(data, at, explicit)
        if tag > _LAST:
            return found
        if tag <= before:
            raise Unsure
        before = tag
        if length == _UNDEFINED:
            at = _after_sequence(data, at, explicit, kind, 0)
            continue
        end = at + length
        if end > len(data):
            raise IndexError
        if name := TAGS.get(tag):
            found[name] = _value(name, data[at:end])
        at = end
    return found


def _syntax(data: bytes) -> tuple[str, int]:
    """Return the transfer syntax and where the data set begins."""
    at, syntax = 132, ""
    while data[at : at + 2] == b"\x02\x00":
        tag, _, length, at = _element(data, at, True)
        if length == _UNDEFINED:
            raise Unsure
        if tag == 0x00020010:
            syntax = data[at : at + length].decode("ascii", "replace").rstrip("\0 ")
        at += length
    return syntax, at


def _element(data: bytes, at: int, explicit: bool) -> tuple[int, bytes, int, int]:
    """Return tag, value representation, length and where the value begins."""
    group, element = struct.unpack_from("<HH", data, at)
    if group == 0xFFFE or not explicit:
        return group << 16 | element, b"", struct.unpack_from("<L", data, at + 4)[0], at + 8
    kind = data[at + 4 : at + 6]
    if kind in _SHORT:
        return group << 16 | element, kind, struct.unpack_from("<H", data, at + 6)[0], at + 8
    if len(kind) == 2 and kind not in _LONG:
        raise Unsure
    return group << 16 | element, kind, struct.unpack_from("<L", data, at + 8)[0], at + 12


def _after_sequence(data: bytes, at: int, explicit: bool, kind: bytes, depth: int) -> int:
    """Return where a sequence of undefined length ends."""
    if depth > _MAX_DEPTH or kind not in (b"SQ", b""):
        raise Unsure
    while True:
        tag, _, length, at = _element(data, at, explicit)
        if tag == _SEQUENCE_END:
            return at
        if tag != _ITEM:
            raise Unsure
        if length != _UNDEFINED:
            at += length
            continue
        while True:
            tag, kind, length, at = _element(data, at, explicit)
            if tag == _ITEM_END:
                break
            at = _after_sequence(data, at, explicit, kind, depth + 1) if length == _UNDEFINED else at + length


def _value(name: str, raw: bytes) -> str | int | list[str]:
    if name in _SHORTS:
        if len(raw) != 2:
            raise Unsure
        return int.from_bytes(raw, "little")
    if not raw.isascii() or b"\x1b" in raw:
        raise Unsure
    text = raw.decode("ascii").rstrip("\0 ")
    if name == "ImageType":
        return [part.rstrip("\0 ") for part in text.split("\\")]
    if "\\" in text or not text.isprintable():
        raise Unsure
    if name in _INTEGERS and text:
        if not re.fullmatch(r"[+-]?[0-9]{1,12}", text.strip()):
            raise Unsure
        return int(text)
    return text
