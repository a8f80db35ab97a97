"""The tokenizer is the same in every run, knows every text, and gives it back."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from release_kit.sae.errors import SaeError
from release_kit.sae.prepare.pairs import SplitPairs
from release_kit.sae.prepare.tokenizer import learn_tokenizer

PROGRAM = """
import hashlib
from release_kit.sae.prepare.tokenizer import learn_tokenizer
documents = [f"Number {i} of {j}. {i}番の{j}です。" for i in range(60) for j in range(9)]
print(hashlib.sha256(learn_tokenizer(documents, 700).to_str().encode()).hexdigest())
"""


def test_bytes_are_the_same_in_every_process():
    runs = [subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60,
                           env={"PYTHONHASHSEED": str(seed), "TOKENIZERS_PARALLELISM": "true"}).stdout
            for seed in (1, 2, 3)]  # fmt: skip
    assert len(set(runs)) == 1 and len(runs[0].strip()) == 64


@pytest.fixture(scope="module")
def tokenizer(bilingual_pairs: SplitPairs):
    return learn_tokenizer([text for pair in bilingual_pairs.train for text in (pair.en, pair.ja)], 600)


def test_sentences_come_back_whole_in_few_pieces(tokenizer, bilingual_pairs: SplitPairs):
    for pair in bilingual_pairs.held_out[:20]:
        for text in (pair.en, pair.ja, f"{pair.en}\n{pair.ja}"):
            ids = tokenizer.encode(text).ids
            assert tokenizer.decode(ids) == text and len(ids) < 0.8 * len(text)


@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\u2581<"), max_size=20))
def test_no_text_is_unknown(tokenizer, text: str):
    ids = tokenizer.encode(text).ids
    assert tokenizer.token_to_id("<unk>") not in ids
    assert tokenizer.decode(ids).strip(" ") == text.strip(" ")


def test_text_that_spells_a_byte_is_read_as_text(tokenizer):
    assert (
        tokenizer.encode("<0x41>").tokens[0] != "<0x41>"
        and tokenizer.decode(tokenizer.encode("<0x41>").ids) == "<0x41>"
    )


def test_vocabulary_without_room_for_bytes_is_refused():
    with pytest.raises(SaeError, match="a vocabulary of 300 is too small: bytes and marks take 260"):
        learn_tokenizer(["a"], 300)
