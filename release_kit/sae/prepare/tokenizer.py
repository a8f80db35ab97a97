"""A subword tokenizer of two languages: SentencePiece's form, learnt by byte-pair merges, the same in every run.

The unigram trainer of ``tokenizers`` gives other scores and another order of pieces in every run (hash maps with random
keys), so pieces are merges of characters instead. Rare characters fall back to their bytes: no text is unknown.
"""

import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from release_kit.sae.errors import SaeError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PADDING, START, END, UNKNOWN = "<pad>", "<s>", "</s>", "<unk>"
_SPECIAL = (PADDING, START, END, UNKNOWN)
_BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
_N_FIXED = len(_SPECIAL) + len(_BYTES)
LEAST_VOCABULARY = 2 * _N_FIXED
"""With fewer pieces most would be bytes and marks."""
_SPACE = "\u2581"
_MAX_PIECE = 8
"""Characters of the longest piece; Japanese without spaces would otherwise give whole phrases."""
_ALONE = rf"[^\p{{L}}\p{{M}}\p{{N}}{_SPACE}ー']|\p{{N}}"
"""Every digit and every mark of punctuation is a piece of its own."""


def learn_tokenizer(documents: Sequence[str], vocab_size: int) -> "Tokenizer":
    """Return a tokenizer learnt from documents; the same documents in the same order give the same bytes.

    Characters have pieces of their own as long as these take no more than half of the vocabulary, frequent ones first.

    Raises:
        SaeError: the vocabulary is too small to hold bytes and characters.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    if vocab_size < LEAST_VOCABULARY:
        what = f"a vocabulary of {vocab_size} is too small: bytes and marks take {_N_FIXED}"
        raise SaeError(what, where="tokenizer", next_step=f"ask for {LEAST_VOCABULARY} or more")
    counts = Counter(character for document in documents for character in document if character not in " \n")
    ranked = sorted(counts, key=lambda character: (-counts[character], character))
    alphabet = [_SPACE, *ranked[: vocab_size // 2 - _N_FIXED // 2]]
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme="first"),
         pre_tokenizers.Split(Regex(_ALONE), "isolated")]
    )  # fmt: skip
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[*_SPECIAL, *_BYTES], initial_alphabet=sorted(alphabet),
        limit_alphabet=len(alphabet), max_token_length=_MAX_PIECE, show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator(documents, trainer, length=len(documents))
    return _with_plain_bytes(tokenizer)


def _with_plain_bytes(tokenizer: "Tokenizer") -> "Tokenizer":
    """Return the same tokenizer whose byte pieces are no special tokens.

    The trainer gives pieces a place in the vocabulary only as special ones, which decoding would leave out, and which a
    text that spells ``<0x41>`` would match.
    """
    from tokenizers import Tokenizer

    form = json.loads(tokenizer.to_str())
    form["added_tokens"] = [token for token in form["added_tokens"] if token["content"] in _SPECIAL]
    return Tokenizer.from_str(json.dumps(form, ensure_ascii=False))
