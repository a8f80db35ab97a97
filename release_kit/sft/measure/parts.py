"""The measures of single files, computed once and kept: what properties of datasets and mixtures are put together from.

Owns what each part follows from (its key) and that no model is loaded while everything is known. A part that failed
fails again without being tried again in the same run.
"""

import functools
import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.core.errors import ReleaseKitError
from release_kit.core.study import Study
from release_kit.sft.data.examples import rows_sha256
from release_kit.sft.measure.benchmarks import Benchmark
from release_kit.sft.measure.contamination import Hit, WordTexts, find_hits, split_texts
from release_kit.sft.measure.corpora import Corpus, Part, text_of
from release_kit.sft.measure.embedding import CODE as EMBEDDING_CODE
from release_kit.sft.measure.embedding import Encoder, encoder_files, encoder_folder
from release_kit.sft.measure.lexical import Similarity, Terms, lexical_similarity, terms_of
from release_kit.sft.measure.perplexity import OpenBase, losses_table, open_base
from release_kit.sft.measure.store import PartStore
from release_kit.sft.spec.identity import BaseIdentity, base_identity, source_digest
from release_kit.sft.spec.runs import base_folder
from release_kit.sft.spec.settings import TrainingSettings

CHUNK_EXAMPLES, CHUNK_TEXTS = 128, 256
"""What a kill can lose: so many examples of a perplexity, so many texts of an embedding."""


class Parts:
    """All parts of one study.

    Args:
        study: the study.
        encoder: folder of the sentence encoder; None: the installed one.
    """

    def __init__(self, study: Study, encoder: Path | None = None):
        folder, self._study, self._encoder_folder = study.folder, study, encoder
        self._losses = PartStore(folder, "perplexity", ("perplexity.py",))
        self._vectors = PartStore(folder, "embeddings", EMBEDDING_CODE)
        self._lexical = PartStore(folder, "lexical", ("lexical.py", "words.py"))
        self._hits = PartStore(folder, "contamination", ("contamination.py", "words.py"))
        self._known: dict[tuple, Any] = {}
        self._open: tuple[str, OpenBase] | None = None
        self.n_computed = self.n_remembered = 0

    def base(self, name: str) -> BaseIdentity:
        """Return the digests of a base model.

        Raises:
            ArtifactError: it is not there.
        """
        return self._once(("base", name), lambda: base_identity(base_folder(self._study, name), name))

    def losses(self, part: Part, base: str, settings: TrainingSettings):
        """Return the sums of ``perplexity.py`` for the sample of a part, an example each.

        Raises:
            ReleaseKitError: the base cannot be loaded, or cannot be shown the examples.
        """
        return self._once(("losses", part.name, base), lambda: self._all_losses(part, base, settings))

    def embeddings(self, texts: tuple[str, ...]) -> Any:
        """Return the unit vectors of some texts: ``(n_texts, n_dimensions) float32``.

        Raises:
            MissingExtraError: no encoder is installed.
        """
        import numpy as np

        chunks = [texts[start : start + CHUNK_TEXTS] for start in range(0, len(texts), CHUNK_TEXTS)]
        return np.concatenate([self._once(("vectors", chunk), self._vectors_of, chunk) for chunk in chunks])

    def lexical(self, corpus: Corpus, benchmark: Benchmark) -> Similarity:
        """Return how alike a dataset and a benchmark are in their words."""
        return self._once(("lexical", corpus.name, benchmark.name), self._lexical_of, corpus, benchmark)

    def hits(self, part: Part, benchmark: Benchmark) -> list[Hit]:
        """Return the documents of a benchmark that stand in a file; all of its examples are looked at."""
        return self._once(("hits", part.name, benchmark.name), self._hits_of, part, benchmark)

    def documents(self, benchmark: Benchmark) -> WordTexts:
        """Return a benchmark's documents as words."""
        return self._once(("document words", benchmark.name), split_texts, benchmark.texts)

    def prune(self) -> None:
        """Remove parts of earlier inputs."""
        for store in (self._losses, self._vectors, self._lexical, self._hits):
            store.prune()

    def _once(self, name: tuple, make: Callable, *arguments: Any) -> Any:
        """Return what ``make`` gave or raised the first time."""
        if name not in self._known:
            try:
                self._known[name] = make(*arguments)
            except ReleaseKitError as problem:
                self._known[name] = problem
        if isinstance(self._known[name], ReleaseKitError):
            raise self._known[name]
        return self._known[name]

    def _kept(self, store: PartStore, inputs: dict[str, Any], make: Callable) -> Any:
        """Return the table that follows from ``inputs``: the one in the store, or a new one."""
        key = store.key(inputs)
        table = store.get(key)
        if table is None:
            table = store.put(key, make())
            self.n_computed += 1
        else:
            self.n_remembered += 1
        return table

    def _all_losses(self, part: Part, base: str, settings: TrainingSettings):
        import pyarrow as pa

        inputs = {
            "base": dict(self.base(base).files), "template": settings.template, "max_length": settings.max_length,
            "data_code": source_digest(("data",)), "libraries": libraries(),
        }  # fmt: skip
        tables = []
        for start in range(0, len(part.rows), CHUNK_EXAMPLES):
            rows = part.rows[start : start + CHUNK_EXAMPLES]

            def make(rows=rows):
                return losses_table(self._opened(base), rows, settings)

            tables.append(self._kept(self._losses, {"rows": rows_sha256(rows), **inputs}, make))
        return pa.concat_tables(tables)

    def _opened(self, base: str) -> OpenBase:
        if self._open is None or self._open[0] != base:
            self._open = None
            self._open = (base, open_base(base_folder(self._study, base)))
        return self._open[1]

    def _vectors_of(self, texts: tuple[str, ...]) -> Any:
        import pyarrow as pa

        def make():
            vectors = self._once(("encoder",), lambda: Encoder(self._encoder())).encode(texts)
            flat = pa.array(vectors.ravel(), pa.float32())
            return pa.table({"vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])})

        encoder = self._once(("encoder digest",), lambda: encoder_files(self._encoder()))
        inputs = {"encoder": encoder, "texts": canonical.digest(list(texts)), "libraries": libraries()}
        table = self._kept(self._vectors, inputs, make)
        column = table.column("vector").combine_chunks()
        return column.flatten().to_numpy().reshape(len(column), -1)

    def _encoder(self) -> Path:
        return self._encoder_folder or encoder_folder()

    def _lexical_of(self, corpus: Corpus, benchmark: Benchmark) -> Similarity:
        import pyarrow as pa

        def make():
            examples = self._terms(("terms", corpus.name), tuple(corpus.texts))
            found = lexical_similarity(examples, self._terms(("document terms", benchmark.name), benchmark.texts))
            return pa.table({name: [value] for name, value in found._asdict().items()})

        inputs = {"texts": canonical.digest(corpus.texts), "documents": benchmark.key}
        return Similarity(**self._kept(self._lexical, inputs, make).to_pylist()[0])

    def _terms(self, name: tuple, texts: tuple[str, ...]) -> Terms:
        return self._once(name, terms_of, texts)

    def _hits_of(self, part: Part, benchmark: Benchmark) -> list[Hit]:
        import pyarrow as pa

        schema = pa.schema({"document": pa.int64(), "example": pa.int64(), "n_words": pa.int64(), "ngram": pa.string()})

        def make():
            examples = self._once(("words", part.name), lambda: split_texts(list(map(text_of, part.dataset.rows))))
            found = find_hits(examples, self.documents(benchmark))
            return pa.Table.from_pylist([hit._asdict() for hit in found], schema=schema)

        table = self._kept(self._hits, {"data": rows_sha256(part.dataset.rows), "documents": benchmark.key}, make)
        return [Hit(**row) for row in table.to_pylist()]


@functools.cache
def libraries() -> dict[str, str]:
    """Return the versions of the libraries that may change the last digits of a model's values."""
    return {name: importlib.metadata.version(name) for name in ("torch", "transformers", "tokenizers")}
