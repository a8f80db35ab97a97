"""``tables/dataset_properties.parquet``: what the datasets of a study are like, for its bases and its benchmarks.

Owns the rows, their order and the list of contaminated documents. The measures of single files are ``parts.py``, which
keeps them; mixtures are put together here from those of their files. Format: ``docs/formats/dataset_properties.md``.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from release_kit.core.errors import ReleaseKitError
from release_kit.core.files import exclusive, write_atomic
from release_kit.core.results import parquet_bytes
from release_kit.core.study import Study
from release_kit.sft.measure.benchmarks import Benchmark, read_benchmark
from release_kit.sft.measure.contamination import n_checkable
from release_kit.sft.measure.corpora import Corpus, Measured, read_corpora
from release_kit.sft.measure.embedding import embedding_similarity
from release_kit.sft.measure.parts import Parts
from release_kit.sft.measure.store import MeasureEvent, MeasureReport, OnEvent, ignore_event, one_thread
from release_kit.sft.spec.settings import evaluation_settings

PROPERTIES_FILE = "tables/dataset_properties.parquet"
HITS_FILE = "tables/contamination_hits.parquet"
SCHEMA_VERSION = 1
MAX_EXAMPLES = 1000
"""Examples of each file that are measured; contamination alone looks at all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Property:
    """One measured number of a dataset."""

    dataset: str
    base_model: str | None = None
    benchmark: str | None = None
    property: str
    value: float
    n: int | None
    """Examples behind the value; for likeness and contamination, documents of the benchmark."""
    data_sha256: str
    base_digest: str | None = None
    benchmark_sha256: str | None = None

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What no two rows share, and what they are sorted by."""
        return (self.dataset, self.property, self.base_model or "", self.benchmark or "")


COLUMNS = tuple(Property.__dataclass_fields__)


class HitRow(NamedTuple):
    """One document of a benchmark that stands in a dataset, in part or whole."""

    dataset: str
    benchmark: str
    document: int
    file: str
    line: int
    n_words: int
    ngram: str
    data_sha256: str
    benchmark_sha256: str


class _Unit(NamedTuple):
    label: str
    rows: Callable[[], Sequence[Property | HitRow]]


def measure_properties(study: Study, on_event: OnEvent | None = None, *, max_examples: int = MAX_EXAMPLES) -> Path:
    """Bring the table of dataset properties up to date and return its path; see ``update_properties``."""
    return update_properties(study, on_event, max_examples=max_examples).path


def update_properties(
    study: Study, on_event: OnEvent | None = None, *, max_examples: int = MAX_EXAMPLES, encoder: Path | None = None
) -> MeasureReport:
    """Measure every dataset that some run is trained on, against every base and every benchmark, and write the tables.

    Args:
        study: the study; ``settings.evaluation.tasks`` are the benchmarks.
        on_event: told of every unit: a dataset alone, with a base, or with a benchmark.
        max_examples: examples of each file that are measured; contamination always looks at all.
        encoder: folder of the sentence encoder; None: the installed all-MiniLM-L6-v2.

    Returns:
        What was done; what could not be measured is its problems and has no rows.
    """
    tell = on_event or ignore_event
    with exclusive(study.folder, "measure-properties"), one_thread():
        measured = read_corpora(study, max_examples)
        benchmarks, problems = _read_benchmarks(study)
        problems = [*measured.problems, *problems]
        parts = Parts(study, encoder)
        units, rows = list(_units(measured, benchmarks, parts)), []
        for done, unit in enumerate(units, 1):
            before, problem = parts.n_computed, None
            try:
                rows += unit.rows()
            except ReleaseKitError as error:
                problem = error
                problems += [] if str(error) in map(str, problems) else [error]
            known = problem is None and parts.n_computed == before
            tell(MeasureEvent(label=unit.label, n_done=done, n_total=len(units), remembered=known, problem=problem))
        found = [row for row in rows if isinstance(row, Property)]
        changed = _write(study.folder, found, [row for row in rows if isinstance(row, HitRow)])
        if not problems:
            parts.prune()
    return MeasureReport(
        path=study.folder / PROPERTIES_FILE, n_rows=len(found), n_computed=parts.n_computed,
        n_remembered=parts.n_remembered, changed=changed, problems=tuple(problems),
    )  # fmt: skip


def properties_table(rows: Sequence[Property]):
    """Return the Arrow table of ``rows``, sorted."""
    import pyarrow as pa

    kinds = {"value": pa.float64(), "n": pa.int64()}
    schema = pa.schema([pa.field(name, kinds.get(name, pa.string())) for name in COLUMNS])
    ordered = sorted(rows, key=lambda row: row.key)
    arrays = [pa.array([getattr(row, field.name) for row in ordered], field.type) for field in schema]
    table = pa.Table.from_arrays(arrays, schema=schema)
    return table.replace_schema_metadata({b"release_kit.dataset_properties_schema": str(SCHEMA_VERSION).encode()})


def _units(measured: Measured, benchmarks: Sequence[Benchmark], parts: Parts) -> Iterator[_Unit]:
    """Yield what is measured; bases one after the other, so that one is in memory at a time."""
    for corpus in measured.corpora:
        yield _Unit(corpus.name, lambda c=corpus: _plain_rows(c))
    for base in measured.bases:
        for corpus in measured.corpora:
            yield _Unit(f"{corpus.name} on {base}", lambda c=corpus, b=base: _base_rows(c, b, measured, parts))
    for benchmark in benchmarks:
        for corpus in measured.corpora:
            label = f"{corpus.name} against {benchmark.name}"
            for what, rows in (
                ("words", _lexical_rows), ("meaning", _embedding_rows), ("contamination", _contamination_rows)
            ):  # fmt: skip
                yield _Unit(f"{label}: {what}", lambda r=rows, c=corpus, b=benchmark: r(c, b, parts))


def _plain_rows(corpus: Corpus) -> list[Property]:
    texts = corpus.texts
    n_characters = math.fsum(map(len, texts)) / len(texts)
    return [
        Property(dataset=corpus.name, property="n_examples", value=float(corpus.n_examples), n=None,
                 data_sha256=corpus.sha256),
        Property(dataset=corpus.name, property="characters_mean", value=n_characters, n=len(texts),
                 data_sha256=corpus.sha256),
    ]  # fmt: skip


def _base_rows(corpus: Corpus, base: str, measured: Measured, parts: Parts) -> list[Property]:
    """Return lengths in tokens, perplexities ``exp(Σ nll / Σ tokens)`` and bits for each byte of a dataset."""
    import pyarrow as pa

    tables = [parts.losses(part, base, measured.settings_of(part.name, base)).slice(0, n) for part, n in corpus.picks]
    table = pa.concat_tables(tables)
    columns = {name: [x for x in table.column(name).to_pylist() if x is not None] for name in table.column_names}
    sums = {name: math.fsum(values) for name, values in columns.items()}
    n_rows, n_scored = table.num_rows, len(columns["nll_full"])
    values = {
        "tokens_mean": (sums["n_tokens"] / n_rows, n_rows),
    }
    if n_scored:
        values["completion_tokens_mean"] = (sums["n_completion_scored"] / n_scored, n_scored)
    for what, count in (("full", "n_scored"), ("completion", "n_completion_scored")):
        loss, n_tokens, n_bytes = sums[f"nll_{what}"], sums[count], sums[f"bytes_{what}"]
        if n_tokens:
            values[f"perplexity_{what}"] = (math.exp(loss / n_tokens), n_scored)
        if n_bytes:
            values[f"bits_per_byte_{what}"] = (loss / math.log(2) / n_bytes, n_scored)
    digest = parts.base(base).weights_sha256
    return [
        Property(dataset=corpus.name, base_model=base, property=name, value=value, n=n, data_sha256=corpus.sha256,
                 base_digest=digest)
        for name, (value, n) in values.items()
    ]  # fmt: skip


def _lexical_rows(corpus: Corpus, benchmark: Benchmark, parts: Parts) -> list[Property]:
    found = parts.lexical(corpus, benchmark)
    return _pair_rows(corpus, benchmark, len(benchmark.texts), lexical_similarity=found.centroid,
                      lexical_similarity_nearest=found.nearest)  # fmt: skip


def _embedding_rows(corpus: Corpus, benchmark: Benchmark, parts: Parts) -> list[Property]:
    import numpy as np

    examples = np.concatenate([parts.embeddings(part.texts)[:n] for part, n in corpus.picks])
    found = embedding_similarity(examples, parts.embeddings(benchmark.texts))
    return _pair_rows(corpus, benchmark, len(benchmark.texts), embedding_similarity=found.centroid,
                      embedding_similarity_nearest=found.nearest)  # fmt: skip


def _contamination_rows(corpus: Corpus, benchmark: Benchmark, parts: Parts) -> list[Property | HitRow]:
    """Return the share of documents that stand in any file of the dataset, and each of those documents."""
    n = n_checkable(parts.documents(benchmark))
    rows: list[Property | HitRow] = []
    documents: set[int] = set()
    for part, _ in corpus.picks:
        for hit in parts.hits(part, benchmark):
            documents.add(hit.document)
            place = (part.name, part.dataset.lines[hit.example])
            rows.append(HitRow(corpus.name, benchmark.name, hit.document, *place, hit.n_words, hit.ngram,
                               corpus.sha256, benchmark.sha256))  # fmt: skip
    return rows + (_pair_rows(corpus, benchmark, n, contamination=len(documents) / n) if n else [])


def _pair_rows(corpus: Corpus, benchmark: Benchmark, n: int, **values: float) -> list[Property]:
    return [
        Property(dataset=corpus.name, benchmark=benchmark.name, property=name, value=value, n=n,
                 data_sha256=corpus.sha256, benchmark_sha256=benchmark.sha256)
        for name, value in values.items()
    ]  # fmt: skip


def _read_benchmarks(study: Study) -> tuple[list[Benchmark], list[ReleaseKitError]]:
    benchmarks: list[Benchmark] = []
    problems: list[ReleaseKitError] = []
    try:
        settings = evaluation_settings(study)
    except ReleaseKitError as problem:
        return [], [problem]
    for task in settings.tasks:
        try:
            benchmarks.append(read_benchmark(study.folder, task, settings.limit))
        except ReleaseKitError as problem:
            problems.append(problem)
    return benchmarks, problems


def _write(folder: Path, rows: Sequence[Property], hits: Sequence[HitRow]) -> bool:
    """Write both tables; returns whether the first changed."""
    import pyarrow as pa

    kinds: dict[str, Any] = {"document": pa.int64(), "line": pa.int64(), "n_words": pa.int64()}
    schema = pa.schema([pa.field(name, kinds.get(name, pa.string())) for name in HitRow._fields])
    table = pa.Table.from_pylist([hit._asdict() for hit in sorted(hits)], schema=schema)
    write_atomic(folder / HITS_FILE, parquet_bytes(table))
    return write_atomic(folder / PROPERTIES_FILE, parquet_bytes(properties_table(rows)))
