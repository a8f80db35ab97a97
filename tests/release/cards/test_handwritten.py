"""What people write between the markers survives, word for word, or the card is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from release_kit.core.errors import RecordError
from release_kit.release.build import build_release
from release_kit.release.cards.compare import check_cards
from release_kit.release.cards.handwritten import (
    CLOSE,
    block,
    emptied,
    filled,
    open_marker,
    parse_sections,
)
from release_kit.release.cards.write import write_cards

CELL = "tiny-llama-alpaca-lora-s0"
GENERATED = f"# Card\n\n{block('about', '')}\n\n## Limits\n\n{block('limits', '')}\n\n{block('notes', '')}\n"


def write_notes(built, name: str, words: str) -> None:
    card = built.card(CELL)
    marker = f"{open_marker(name)}\n"
    card.write_text(card.read_text().replace(marker, f"{marker}{words}\n"))


def test_words_survive_a_regeneration_after_new_results(built):
    write_notes(built, "notes", "## Notes\n\nMeasured **twice**; see `--check`.\n\n| a | b |\n| - | - |\n| 1 | 2 |")
    built.change_value(CELL, "arc_tiny", 0.75)
    done = write_cards(built.inputs())
    text = built.card(CELL).read_text()
    assert "Measured **twice**; see `--check`.\n\n| a | b |" in text and "0.7500" in text
    assert done.kept_aside == () and f"cells/{CELL}/README.md" in done.written
    assert check_cards(built.inputs()).ok


def test_words_survive_a_build_and_a_build_changes_nothing_more(built):
    write_notes(built, "about", "Our favourite.")
    first = build_release(built.study)
    assert "Our favourite." in built.card(CELL).read_text()
    assert first.written == ("release/manifest.json",)
    assert build_release(built.study).written == ()


def test_section_of_an_unknown_name_stays_under_its_heading(built):
    card = built.card(CELL)
    own = block("how-we-chose", "By hand.\n")
    card.write_text(card.read_text().replace("\n## How to load it\n", f"\n{own}\n\n## How to load it\n"))
    built.change_value(CELL, "arc_tiny", 0.75)
    write_cards(built.inputs())
    text = card.read_text()
    assert own in text
    assert text.index("## Evaluation") < text.index(own) < text.index("## How to load it")
    assert check_cards(built.inputs()).ok


def test_card_edited_on_windows_keeps_its_words(built):
    write_notes(built, "notes", "Zeile eins.\nZeile zwei.")
    card = built.card(CELL)
    card.write_bytes(b"\xef\xbb\xbf" + card.read_text().replace("\n", "\r\n").encode())
    write_cards(built.inputs())
    assert "Zeile eins.\nZeile zwei.\n" in card.read_bytes().decode()


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (f"{open_marker('notes')}\nwords\n", "not closed"),
        (f"{open_marker('notes')}\n{open_marker('more')}\nwords\n{CLOSE}\n", "nested"),
        (f"words\n{CLOSE}\n", "not opened"),
        (f"{open_marker('a')}\nx\n{CLOSE}\n{open_marker('a')}\ny\n{CLOSE}\n", "stands twice"),
        (f"<!-- release_kit:hand-written My Notes -->\nx\n{CLOSE}\n", "misspelt"),
    ],
)
def test_markers_that_could_lose_words_are_refused_with_their_line(broken, says):
    with pytest.raises(RecordError, match=says) as caught:
        parse_sections(f"# Card\n{broken}", "README.md")
    assert caught.value.where.startswith("README.md:")


def test_broken_markers_stop_the_writing_of_all_cards_and_name_every_one(built):
    names = [CELL, "tiny-llama-lima-full-s1"]
    before = {path: path.read_bytes() for path in built.release.rglob("README.md")}
    for name in names:
        card = built.card(name)
        card.write_text(card.read_text().replace(CLOSE, "", 1))
        before[card] = card.read_bytes()
    built.change_value("tiny-llama-alpaca-full-s0", "arc_tiny", 0.5)
    with pytest.raises(RecordError) as caught:
        write_cards(built.inputs())
    assert all(f"cells/{name}/README.md" in str(caught.value) for name in names)
    assert {path: path.read_bytes() for path in before} == before


def test_text_edited_outside_the_markers_is_kept_aside_before_it_is_replaced(built):
    card = built.card(CELL)
    edited = card.read_text().replace("An adapter for", "My adapter for")
    card.write_text(edited)
    done = write_cards(built.inputs())
    assert done.kept_aside == done.written == (f"cells/{CELL}/README.md",)
    assert (built.study.folder / ".release_kit/edited-cards" / done.kept_aside[0]).read_text() == edited
    assert "My adapter" not in card.read_text()


def test_build_keeps_an_edited_card_aside_too(built):
    card = built.card(CELL)
    edited = card.read_text().replace("An adapter for", "My adapter for")
    card.write_text(edited)
    build_release(built.study)
    assert (built.study.folder / f".release_kit/edited-cards/cells/{CELL}/README.md").read_text() == edited
    assert "My adapter" not in card.read_text() and check_cards(built.inputs()).ok


words = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")) | st.just("\n"), max_size=200).filter(
    lambda text: "release_kit:" not in text
)


@given(st.dictionaries(st.sampled_from(["about", "limits", "notes", "own", "more"]), words, max_size=5))
def test_any_words_come_back_unchanged_and_only_once(written):
    from release_kit.release.cards.handwritten import Section

    sections = [Section(name=n, content=f"{text}\n", heading="## Limits", line=1) for n, text in written.items()]
    text = filled(GENERATED, sections)
    back = {s.name: s.content for s in parse_sections(text, "card") if s.content}
    assert back == {name: f"{content}\n" for name, content in written.items()}
    assert filled(GENERATED, parse_sections(text, "card")) == text
    assert emptied(filled(GENERATED, [s for s in sections if s.name in ("about", "limits", "notes")])) == GENERATED
