"""What a small base model is pre-trained on: documents of training parts, a tokenizer of its own, batches of tokens.

Owns turning sources into documents (never of a test part), byte-level BPE, and which window of the text each step
sees: a pure function of seed and step, so that a resumed training sees the same. Training is ``pretrain.py``.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from release_kit.core.errors import ArtifactError, StudyError
from release_kit.core.packages import open_package
from release_kit.sft.prepare.sources import TEST, find_source, read_rows

END_OF_TEXT, PADDING = "<|endoftext|>", "<|padding|>"
HELD_OUT_ONE_IN = 25
"""One document of so many is kept out of pre-training, to measure its loss on text that it has not seen."""


@dataclass(frozen=True, kw_only=True)
class Text:
    """Documents of one source."""

    name: str
    license: str
    source: str
    source_version: str
    sha256: str
    """Digest of the documents in their order, each ended by a zero byte."""
    documents: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return what ``base.json`` says of the text: everything but the documents, which are counted."""
        values = {key: value for key, value in asdict(self).items() if key != "documents"}
        return {**values, "n_documents": len(self.documents)}


def read_texts(names: Sequence[str], where: str) -> list[Text]:
    """Return the documents of every source in ``names``.

    Raises:
        StudyError: there is no such source, or it is a test part, which no model may be trained on.
        ArtifactError: a source has no documents.
    """
    texts = []
    for name in names:
        source = find_source(name, where)
        if source.part == TEST:
            raise StudyError(f"{name!r} is kept for tests", where=where, next_step="pre-train on a training part")
        package = open_package(source.package)
        documents = tuple(row.get("text") or row["prompt"] + row["completion"] for row in read_rows(source, package))
        if not documents:
            raise ArtifactError(f"ships no text {name!r}", where=package.label())
        sha256 = hashlib.sha256("".join(f"{document}\0" for document in documents).encode()).hexdigest()
        texts.append(
            Text(name=name, license=source.license, source=source.describe(), source_version=package.version,
                 sha256=sha256, documents=documents)
        )  # fmt: skip
    return texts


def split_documents(texts: Sequence[Text]) -> tuple[list[str], list[str]]:
    """Return (training documents, held-out documents), decided by each document's digest."""
    parts: tuple[list[str], list[str]] = ([], [])
    for text in texts:
        for document in text.documents:
            digest = hashlib.sha256(f"held out?\0{document}".encode()).hexdigest()
            parts[int(digest[:8], 16) % HELD_OUT_ONE_IN == 0].append(document)
    return parts


def train_tokenizer(documents: Sequence[str], vocab_size: int, max_length: int):
    """Return a ``PreTrainedTokenizerFast``: byte-level BPE learnt from ``documents``, no text is unknown to it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PADDING, END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer, length=len(documents))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PADDING,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )


def token_stream(documents: Sequence[str], tokenizer):
    """Return the tokens of all documents, each ended by the end-of-text token: (n_tokens,) int32."""
    import numpy as np

    end = tokenizer.eos_token_id
    pieces = tokenizer(list(documents), add_special_tokens=False)["input_ids"]
    return np.concatenate([np.asarray([*piece, end], dtype=np.int32) for piece in pieces])


def window_batch(stream, *, n_rows: int, n_tokens: int, seed: int, step: int):
    """Return what step ``step`` is trained on: (n_rows, n_tokens) int64 windows at random places of the stream.

    The places depend on ``seed`` and ``step`` alone.
    """
    import numpy as np

    generator = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, step]))
    starts = generator.integers(0, len(stream) - n_tokens + 1, size=n_rows)
    return np.stack([stream[start : start + n_tokens] for start in starts]).astype(np.int64)
