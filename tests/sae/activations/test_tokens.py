"""Every token keeps its language, document and position, whatever rows and batches it goes through."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from release_kit.sae.activations.tokens import Text, TokenBatches, require_languages, tokenise
from release_kit.sae.errors import SaeError
from release_kit.sae.models.load import LanguageModel


def texts(*sizes: int) -> list[Text]:
    languages = ("en", "ja", "")
    return [Text(id=f"t{i}", language=languages[i % 3], text="ab " * size) for i, size in enumerate(sizes)]


class Letters:
    """A tokenizer of one token for each character."""

    eos_token_id, pad_token_id = 1, 2

    def __init__(self, bos: int | None):
        self.bos_token_id = bos

    def __call__(self, texts: list[str], **_: object) -> dict[str, list[list[int]]]:
        return {"input_ids": [[ord(character) for character in text] for text in texts]}


@given(sizes=st.lists(st.integers(0, 9), min_size=1, max_size=9).filter(any), context=st.integers(2, 11),
       budget=st.integers(1, 60), bos=st.sampled_from([0, None]))  # fmt: skip
def test_every_token_stands_in_exactly_one_batch_with_its_id(sizes: list[int], context: int, budget: int, bos):
    tokens = tokenise(texts(*sizes), Letters(bos), context)
    seen = []
    for batch in tokens.batches(budget):
        kept = batch.kept()
        assert batch.input_ids.shape[1] <= context and (len(batch.input_ids) == 1 or batch.input_ids.numel() <= budget)
        assert np.array_equal(batch.input_ids[kept].numpy(), tokens.ids[batch.index[kept].numpy()])
        starts = batch.mask.bool() & ~kept
        assert bool(starts[:, 0].all()) == (bos == 0) and not bool(starts[:, 1:].any())
        assert set(batch.input_ids[starts].tolist()) <= {bos}
        assert bool((batch.input_ids[~batch.mask.bool()] == 2).all())
        seen += batch.index[kept].tolist()
    assert sorted(seen) == list(range(tokens.n_tokens)) and tokens.n_tokens == 3 * sum(sizes)


@given(sizes=st.lists(st.integers(0, 9), min_size=1, max_size=9).filter(any), context=st.integers(2, 11))
def test_tokens_of_a_document_are_its_text_in_order(sizes: list[int], context: int):
    given_texts = texts(*sizes)
    tokens = tokenise(given_texts, Letters(0), context)
    for document, text in enumerate(given_texts):
        own = tokens.document == document
        assert "".join(map(chr, tokens.ids[own])) == text.text
        assert tokens.position[own].tolist() == list(range(len(text.text)))
    assert bool((tokens.row_lengths() <= context - 1).all())
    assert all(
        len(set(tokens.document[a:b])) == 1 for a, b in zip(tokens.row_starts, tokens.row_starts[1:], strict=False)
    )


def test_tokens_are_counted_by_language(held_out_tokens: TokenBatches):
    counts = held_out_tokens.n_by_language()
    assert counts["en"] > 0 and counts["ja"] > 0 and counts[""] == 0
    assert sum(counts.values()) == held_out_tokens.n_tokens


def test_digest_follows_ids_rows_languages_and_documents(tiny_lm: LanguageModel):
    base = [Text(id="a", language="en", text="Tom likes fish."), Text(id="b", language="ja", text="犬は魚が好きです。")]
    changed = [
        [base[0], Text(id="b", language="en", text=base[1].text)],
        [base[0], Text(id="b", language="ja", text=base[1].text[:-1])],
        base[::-1],
    ]
    digests = {tokenise(each, tiny_lm.tokenizer, 32).digest() for each in (base, *changed)}
    digests |= {tokenise(base, tiny_lm.tokenizer, 6).digest()}
    assert len(digests) == 5 and tokenise(base, tiny_lm.tokenizer, 32).digest() in digests


def test_bad_texts_are_named():
    with pytest.raises(SaeError, match="the id 't0' stands twice"):
        tokenise(texts(1) * 2, Letters(0), 8)
    with pytest.raises(SaeError, match="text x: the language 'de' is none of"):
        tokenise([Text(id="x", language="de", text="Ja")], Letters(0), 8)
    with pytest.raises(SaeError, match="no text has a token"):
        tokenise(texts(0, 0), Letters(0), 8)
    with pytest.raises(SaeError, match="a context of 1 holds no token"):
        tokenise(texts(1), Letters(0), 1)


def test_texts_without_one_of_the_languages_are_refused():
    require_languages(texts(1, 1))
    with pytest.raises(SaeError, match=r"there is no text in 'ja'; there are texts in \['en'\]"):
        require_languages(texts(1))
