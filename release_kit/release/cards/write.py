"""Writing cards outside a build: only those that change, and nothing that a person wrote is lost."""

from dataclasses import dataclass

from release_kit.core.errors import RecordError
from release_kit.core.files import STATE_FOLDER, write_atomic
from release_kit.release.cards.compare import changed_cards
from release_kit.release.cards.inputs import CARD_FILE, CardInputs
from release_kit.release.cards.trace import body_digest, parse_trace

EDITED_FOLDER = "edited-cards"


@dataclass(frozen=True, kw_only=True)
class WrittenCards:
    """What regenerating did; paths in the release tree."""

    written: tuple[str, ...]
    kept_aside: tuple[str, ...]
    """Cards that somebody had changed outside the hand-written sections; their old text lies in the state folder,
    ``.release_kit/edited-cards``."""


def write_cards(inputs: CardInputs) -> WrittenCards:
    """Write every generated file that differs from what lies in the release.

    Raises:
        RecordError: cards whose hand-written sections cannot be told apart; nothing was written.
        ReleaseKitError: the disk is full or the folder cannot be written.
    """
    written, aside = [], []
    for path, _, new in list(changed_cards(inputs)):
        if keep_edited(inputs, path, new.encode()):
            aside.append(path)
        write_atomic(inputs.release_folder / path, new.encode(), durable=False)
        written.append(path)
    return WrittenCards(written=tuple(written), kept_aside=tuple(aside))


def keep_edited(inputs: CardInputs, path: str, data: bytes) -> bool:
    """Put a card aside that somebody edited outside the hand-written sections, before ``data`` takes its place.

    Args:
        inputs: what the cards are made from.
        path: a generated file, in the release tree.
        data: what will be written there.

    Returns:
        Whether there was such a card.
    """
    if not path.endswith("/" + CARD_FILE):
        return False
    try:
        with open(f"{inputs.release_folder}/{path}", "rb") as stream:
            old = stream.read()
    except OSError:
        return False
    text = old.decode("utf-8", "replace").removeprefix("\ufeff").replace("\r\n", "\n")
    if old == data or not was_edited(text, path):
        return False
    write_atomic(inputs.study.folder / STATE_FOLDER / EDITED_FOLDER / path, old)
    return True


def was_edited(text: str, path: str) -> bool:
    """Return whether a card's generated part is not what its own record says that it was."""
    try:
        trace = parse_trace(text, path)
    except RecordError:
        return True
    return trace is None or trace.body_sha256 != body_digest(text)
