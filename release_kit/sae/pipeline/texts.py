"""The sentences of a study: those that models and autoencoders see, and those that nothing is trained on.

A pure function of the study's ``text`` section and its source; read once in a process.
"""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.sae.activations.tokens import TokenBatches, tokenise
from release_kit.sae.errors import SaeError
from release_kit.sae.prepare.documents import texts_of
from release_kit.sae.prepare.pairs import TATOEBA, Pair, pairs_digest, read_pairs, split_pairs
from release_kit.sae.spec.model import SaeStudy

LANGUAGES = ("en", "ja")
_SEED = 0
"""Decides which pairs are taken and which are held out: the same ones in every study that asks for as many."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StudyTexts:
    """Pairs of a study, no sentence on both sides.

    Attributes:
        train: what models and autoencoders may see.
        held_out: what classes, metrics and interventions are measured on.
        context: most tokens of a row.
        n_tokens: activations that an autoencoder needs.
        digest: sha256 (64 hex digits) of all pairs and of ``context``.
        train_digest: of the training pairs and of ``context``.
        held_out_digest: of the held-out pairs and of ``context``.
    """

    train: tuple[Pair, ...]
    held_out: tuple[Pair, ...]
    context: int
    n_tokens: int
    digest: str
    train_digest: str
    held_out_digest: str

    def train_tokens(self, tokenizer: Any) -> TokenBatches:
        """Return tokens of as many training pairs, from the first one on, as give ``n_tokens``; all if they do not."""
        n_pairs = min(len(self.train), max(64, self.n_tokens // 16))
        while True:
            tokens = tokenise(texts_of(self.train[:n_pairs]), tokenizer, self.context)
            if tokens.n_tokens >= self.n_tokens or n_pairs == len(self.train):
                break
            n_pairs = min(len(self.train), 2 * n_pairs)
        if tokens.n_tokens <= self.n_tokens:
            return tokens
        last = int(tokens.document[self.n_tokens - 1]) // 2
        return tokenise(texts_of(self.train[: last + 1]), tokenizer, self.context)

    def held_out_tokens(self, tokenizer: Any) -> TokenBatches:
        """Return tokens of both sides of all held-out pairs, English first."""
        return tokenise(texts_of(self.held_out), tokenizer, self.context)


def study_texts(study: SaeStudy) -> StudyTexts:
    """Return the sentences of a study; the same object for the same study and source in one process.

    Raises:
        SaeError: the source cannot be read, has too few pairs, lacks a language, or languages are not English and
            Japanese.
    """
    if set(study.text.languages) != set(LANGUAGES):
        what = f"the languages are {', '.join(study.text.languages)}; sentences can be read in en and ja"
        raise SaeError(what, where=f"{study.file}: text.languages", next_step="write languages: [en, ja]")
    source, stamp = text_source(study), ()
    if isinstance(source, Path) and source.is_file():
        stat = source.stat()
        stamp = (stat.st_size, stat.st_mtime_ns)
    use = study.text
    wanted = study.training.n_steps * study.training.batch
    return _read(source, stamp, use.n_train, use.n_held_out, use.context, wanted)


def text_source(study: SaeStudy) -> str | Path:
    """Return the name of the source, or the table's path: relative ones are relative to the study."""
    return TATOEBA if study.text.source == TATOEBA else study.folder / study.text.source


@functools.lru_cache(maxsize=4)
def _read(
    source: str | Path, stamp: tuple[int, ...], n_train: int | None, n_held_out: int, context: int, n_tokens: int
) -> StudyTexts:
    pairs = read_pairs(source, None if n_train is None else n_train + n_held_out, _SEED)
    split = split_pairs(pairs, n_held_out, _SEED)
    train, held_out = pairs_digest(split.train), pairs_digest(split.held_out)
    return StudyTexts(
        train=split.train, held_out=split.held_out, context=context, n_tokens=n_tokens,
        digest=canonical.digest({"train": train, "held_out": held_out, "context": context}),
        train_digest=canonical.digest({"train": train, "context": context}),
        held_out_digest=canonical.digest({"held_out": held_out, "context": context}),
    )  # fmt: skip
