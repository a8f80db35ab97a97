"""A finished analysis as its folder says it, for maps and reports: nothing is opened but what the folder holds.

``analysis.json`` is written last. It names what the tables are made of: chosen fits and their tests, partitions, masks,
and where everything came from. Maps and reports read it, so they can be made again without the dataset.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from release_kit import __version__
from release_kit.core.canonical import document_bytes, read_json
from release_kit.core.errors import RecordError
from release_kit.core.files import write_atomic
from release_kit.core.hashing import hash_file
from release_kit.encoding.data.masks import Mask
from release_kit.encoding.errors import AnalysisError
from release_kit.encoding.pipeline.identity import FIT_CODE, PARTITION_CODE, TEST_CODE, code_digest, libraries
from release_kit.encoding.pipeline.judging import TEST_FILE
from release_kit.encoding.pipeline.partitions import MEANS_FILE, PARTITION_FILE, PARTITIONS
from release_kit.encoding.pipeline.regions import TOP_MOST, TOP_SHARE
from release_kit.encoding.pipeline.results import ModeResult
from release_kit.encoding.pipeline.source import dataset_facts
from release_kit.encoding.pipeline.tables import read_rows
from release_kit.encoding.pipeline.units import FITS, VOXELS_FILE, read_columns
from release_kit.encoding.spec.model import Analysis, settings_of

FINISHED_FILE, MASKS = "analysis.json", "masks"
SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class ChosenFit:
    """The chosen layer of one feature in one subject, with its values.

    Attributes:
        mode, subject, feature, annotator, level, model, kind: labels.
        layer: the chosen one.
        fit_id: folder under ``fits/``.
        values: alpha, cv_r, r, r2 and, where it was tested, p, q, p_max: (n_voxels,) float32, NaN for nothing; reason.
        test: what test.json says of the test, None where there was none.
    """

    mode: str
    subject: str
    feature: str
    annotator: str
    level: str | None
    model: str
    kind: str
    layer: int
    fit_id: str
    values: Mapping[str, Any]
    test: Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class FinishedPartition:
    """A banded model of one subject: part → (n_voxels,) value (``unique:story``, also with ``:low``, ``:high``)."""

    mode: str
    subject: str
    name: str
    metric: str
    features: tuple[str, ...]
    partition_id: str
    values: Mapping[str, npt.NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Finished:
    """A finished analysis.

    Attributes:
        folder: where it lies.
        record: ``analysis.json``.
    """

    folder: Path
    record: Mapping[str, Any]

    @property
    def subjects(self) -> tuple[str, ...]:
        """Labels."""
        return tuple(self.record["subjects"])

    @property
    def modes(self) -> tuple[str, ...]:
        """The main mode first."""
        return tuple(self.record["modes"])

    @property
    def level(self) -> float:
        """Of significance."""
        return self.record["statistics"]["level"]

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Return the rows of a table; none where there is no such table."""
        return read_rows(self.folder, table)

    @cached_property
    def chosen(self) -> tuple[ChosenFit, ...]:
        """The chosen fit of every mode, subject, feature and annotator."""
        return tuple(self._chosen())

    @cached_property
    def partitions(self) -> tuple[FinishedPartition, ...]:
        """The banded models of every mode and subject."""
        found = []
        for row in self.record["partitions"]:
            values = read_columns(self.folder / PARTITIONS / row["partition_id"] / "voxels.parquet")
            values.pop("voxel")
            found.append(FinishedPartition(**{**row, "features": tuple(row["features"])}, values=values))
        return tuple(found)

    def mask(self, subject: str) -> Mask:
        """Return the analysed voxels of a subject."""
        facts = read_json(self.folder / MASKS / f"sub-{subject}.json")
        affine = None if facts["affine"] is None else np.array(facts["affine"], np.float64)
        selected = np.load(self.folder / MASKS / f"sub-{subject}.npy")
        return Mask(kind=facts["kind"], shape=tuple(facts["shape"]), affine=affine, selected=selected)

    def _chosen(self) -> Iterator[ChosenFit]:
        for row in self.record["chosen"]:
            home = self.folder / FITS / row["fit_id"]
            values = read_columns(home / "voxels.parquet")
            test = None
            if row["test"] is not None:
                values |= read_columns(home / row["test"] / "voxels.parquet")
                test = read_json(home / row["test"] / "test.json")
            values.pop("voxel")
            labels = {name: value for name, value in row.items() if name != "test"}
            yield ChosenFit(**labels, values=values, test=test)


def read_finished(folder: Path) -> Finished:
    """Return a finished analysis.

    Raises:
        AnalysisError: it was never finished, or by another version.
    """
    try:
        record = read_json(folder / FINISHED_FILE)
    except RecordError as error:
        step = "release-kit encoding run finishes it"
        raise AnalysisError("is no finished analysis", where=str(folder), next_step=step) from error
    if not isinstance(record, dict) or record.get("schema_version") != SCHEMA_VERSION:
        step = "run the analysis again"
        raise AnalysisError("was finished by another version of release_kit", where=str(folder), next_step=step)
    return Finished(folder=folder, record=record)


def write_finished(analysis: Analysis, results: Sequence[ModeResult], tables: Sequence[Path]) -> Path:
    """Write masks and, last, ``analysis.json`` of an analysis whose tables are there; no clock and no machine in it."""
    main = results[0]
    for subject in main.inputs.plans:
        _write_mask(analysis.folder / MASKS / f"sub-{subject}", main.inputs.dataset.mask(subject))
    record = {
        "schema_version": SCHEMA_VERSION,
        "name": analysis.name,
        "description": analysis.description,
        "subjects": list(main.inputs.plans),
        "modes": [result.choices.mode for result in results],
        "dataset": dataset_facts(analysis, main.inputs),
        "flatmaps": {subject: dict(vars(flat)) for subject, flat in analysis.flatmaps.items()},
        "features": [_feature(main, name) for name in analysis.features],
        "statistics": dict(vars(analysis.statistics)),
        "choices": {result.choices.mode: _choices(result) for result in results},
        "bands": {name: list(band.features) for name, band in analysis.bands.items()},
        "compare": [dict(vars(each)) for each in analysis.compare],
        "seed": analysis.seed,
        "tr_s": next(iter(main.inputs.plans.values())).tr_s,
        "chosen": [row for result in results for row in _chosen_rows(result)],
        "partitions": [row for result in results for row in _partition_rows(result)],
        "regions": {"top_share": TOP_SHARE, "top_most": TOP_MOST},
        "files": {
            **{f"tables/{path.name}": _sha256(path) for path in tables},
            "encoding.yaml": _sha256(analysis.file),
            **{path.relative_to(analysis.folder).as_posix(): _sha256(path) for path in _made_of(analysis, results)},
        },
        "made_by": {
            "release_kit": __version__,
            "code": code_digest((*FIT_CODE, *TEST_CODE, *PARTITION_CODE)),
            "libraries": dict(libraries()),
        },
    }
    path = analysis.folder / FINISHED_FILE
    write_atomic(path, document_bytes(record))
    return path


def _made_of(analysis: Analysis, results: Sequence[ModeResult]) -> Iterator[Path]:
    """Yield what maps and reports read beside the tables; ``fit.json``, which holds digests, is looked at by itself."""
    for subject in results[0].inputs.plans:
        yield from (analysis.folder / MASKS / f"sub-{subject}{end}" for end in (".json", ".npy"))
    for result in results:
        for subject, feature, annotator in result.profiles:
            part = result.chosen(subject, feature, annotator)
            yield result.fit(subject, part).folder / VOXELS_FILE
            if (judged := result.judged.get((subject, part))) is not None:
                yield from (judged.home / name for name in (TEST_FILE, "voxels.parquet"))
        for each in result.partitions:
            home = analysis.folder / PARTITIONS / each.partition_id
            yield from (home / name for name in (PARTITION_FILE, MEANS_FILE, "voxels.parquet"))


def _chosen_rows(result: ModeResult) -> Iterator[dict[str, Any]]:
    for subject, feature, annotator in result.profiles:
        part = result.chosen(subject, feature, annotator)
        fit, judged = result.fit(subject, part), result.judged.get((subject, part))
        use = result.analysis.features[feature]
        yield {
            "mode": result.choices.mode,
            "subject": subject,
            "feature": feature,
            "annotator": annotator,
            "level": use.level,
            "model": use.model.name if use.model else use.kind,
            "kind": use.kind,
            "layer": part.layer,
            "fit_id": fit.fit_id,
            "test": None if judged is None else judged.home.relative_to(fit.folder).as_posix(),
        }


def _partition_rows(result: ModeResult) -> Iterator[dict[str, Any]]:
    for each in result.partitions:
        yield {
            "mode": result.choices.mode,
            "subject": each.subject,
            "name": each.name,
            "metric": each.metric,
            "features": list(result.analysis.bands[each.name].features),
            "partition_id": each.partition_id,
        }


def _feature(result: ModeResult, name: str) -> dict[str, Any]:
    use = result.analysis.features[name]
    files = result.features.files[name]
    return {
        "name": name,
        "level": use.level,
        "kind": use.kind,
        "model": use.model.name if use.model else None,
        "language": use.language,
        "context_s": use.context_s,
        "pooling": use.pooling,
        "pca": use.pca,
        "missing": use.missing,
        **{key: getattr(use, key) for key in settings_of(use.kind)},
        "n_parameters": result.n_parameters(name),
        "layers": list(result.features.first(name).layers),
        "keys": {split or "every split": each.key for split, each in files.items()},
        "counts": result.features.first(name).counts(),
    }


def _choices(result: ModeResult) -> dict[str, Any]:
    choices = result.choices
    return {
        "delays_s": list(choices.delays_s),
        "delays": choices.delay_kind,
        "borders": choices.borders,
        "special_tokens": choices.special_tokens,
        "clean": dict(vars(choices.clean)),
        "clean_features": None if choices.clean_features is None else dict(vars(choices.clean_features)),
        "drop_start_s": choices.rule.drop_start_s,
        "drop_first_run_start": choices.rule.drop_first_run_start,
        "drop_overlap": choices.rule.drop_overlap,
        "folds": choices.folds,
        "ridge": choices.ridge.to_dict(),
        "test": choices.test.to_dict(),
        "metric": choices.metric,
        "bootstrap": choices.bootstrap,
        "average_repeats": choices.average_repeats,
    }


def _write_mask(stem: Path, mask: Mask) -> None:
    import io

    stream = io.BytesIO()
    np.save(stream, mask.selected)
    write_atomic(stem.with_suffix(".npy"), stream.getvalue())
    affine = None if mask.affine is None else np.asarray(mask.affine, np.float64).tolist()
    facts = {"kind": mask.kind, "shape": list(map(int, mask.shape)), "affine": affine}
    write_atomic(stem.with_suffix(".json"), document_bytes(facts))


def _sha256(path: Path) -> str:
    return hash_file(path, tensors=False, git=False).sha256
