"""Cards: the pages that people read about a cell, about a whole release and about its results.

Rendering (`render.py`), holding cards against the results (`compare.py`), cards of others (`foreign.py`) and the lint
of front matter (`lint.py`). Templates lie in ``dataset_cards``. This file is what other rooms use.
"""

from collections.abc import Iterator

from release_kit.release.cards.inputs import CardCell, CardInputs, read_card_inputs

__all__ = ["CardCell", "CardInputs", "read_card_inputs", "render_cards"]


def render_cards(inputs: CardInputs) -> Iterator[tuple[str, bytes]]:
    """Yield ``(path in the release tree, bytes)`` of all cards, their figures and ``.eval_results``.

    Hand-written sections of the cards under ``inputs.release_folder`` are kept. The same inputs and the same old cards
    give the same bytes.

    Raises:
        RecordError: cards whose hand-written sections cannot be told apart.
        StudyError: an artifact holds files whose names belong to its card.
    """
    from release_kit.release.cards.render import Cards

    yield from Cards(inputs).files()
