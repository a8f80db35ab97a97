"""``tables/layer_changes.parquet``: what training did to every tensor of every cell, against its base.

Owns which cells are measured, the proof that their weights are the ones that the run recorded, resuming and the table.
The numbers of one cell are ``changes.py``. Format: ``docs/formats/layer_changes.md``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from release_kit.core.cell import Cell, artifact_folder, read_cells
from release_kit.core.digest_cache import DigestCache, default_cache_path, digest_files
from release_kit.core.errors import ArtifactError, IntegrityError, ReleaseKitError, StudyError, UsageError
from release_kit.core.files import exclusive, write_atomic
from release_kit.core.grid import is_declared, is_results_only
from release_kit.core.results import parquet_bytes
from release_kit.core.study import Study
from release_kit.sft.measure.adapters import CONFIG_FILE, WEIGHTS_FILE, is_adapter
from release_kit.sft.measure.changes import RANK_MODES, SAMPLE, Base, TensorChange, measure_changes
from release_kit.sft.measure.store import MeasureEvent, MeasureReport, OnEvent, PartStore, ignore_event, one_thread
from release_kit.sft.measure.weights import digest_of_files, model_files
from release_kit.sft.spec.identity import base_identity, file_sha256
from release_kit.sft.spec.runs import base_folder, role_level
from release_kit.sft.spec.settings import UNTOUCHED

LAYERS_FILE = "tables/layer_changes.parquet"
SCHEMA_VERSION = 1
SOURCES = ("weights.py", "adapters.py", "spectrum.py", "changes.py")


@dataclass(frozen=True, kw_only=True)
class _Unit:
    """One cell to measure."""

    cell_id: str
    folder: Path
    base: str
    weights_sha256: str
    base_sha256: str
    key: str


def measure_layers(study: Study, on_event: OnEvent | None = None, *, ranks: str = SAMPLE) -> Path:
    """Bring the table of layer changes up to date and return its path; see ``update_layers``."""
    return update_layers(study, on_event, ranks=ranks).path


def update_layers(study: Study, on_event: OnEvent | None = None, *, ranks: str = SAMPLE) -> MeasureReport:
    """Measure every trained cell whose weights, base or code are new, and write the table of all.

    Args:
        study: the study; cells without weights of their own (untouched bases, results-only) have no rows.
        on_event: told of every cell.
        ranks: ``none``, ``sample`` (matrices of five layers) or ``all``; adapters have all their ranks in any case.

    Returns:
        What was done; cells that could not be measured are its problems and have no rows.
    """
    if ranks not in RANK_MODES:
        raise UsageError(f"{ranks!r} is not one of {', '.join(RANK_MODES)}", where="ranks")
    with exclusive(study.folder, "measure-layers"), one_thread():
        store = PartStore(study.folder, "layers", SOURCES)
        units, problems = _units(study, store, ranks)
        tell = on_event or ignore_event
        parts, n_computed = [], 0
        for done, (unit, table, outcome) in enumerate(_measured(study, units, store, ranks), 1):
            parts += [(unit, table)] if table is not None else []
            n_computed += outcome is True
            problem = outcome if isinstance(outcome, ReleaseKitError) else None
            problems += [problem] if problem else []
            label, known = f"cell {unit.cell_id}", outcome is False
            tell(MeasureEvent(label=label, n_done=done, n_total=len(units), remembered=known, problem=problem))
        table = layers_table(parts)
        path = study.folder / LAYERS_FILE
        changed = write_atomic(path, parquet_bytes(table))
        if not problems:
            store.prune()
    return MeasureReport(
        path=path, n_rows=table.num_rows, n_computed=n_computed, n_remembered=len(parts) - n_computed,
        changed=changed, problems=tuple(problems),
    )  # fmt: skip


def layers_schema():
    """Return the Arrow schema of the table."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("cell_id", pa.string()),
            *_part_schema(),
            pa.field("weights_sha256", pa.string()),
            pa.field("base_sha256", pa.string()),
        ]
    )


def layers_table(parts: list[tuple[Any, Any]]):
    """Return the table of all cells, by cell id, then as the parts are ordered."""
    import pyarrow as pa

    tables = []
    for unit, part in sorted(parts, key=lambda pair: pair[0].cell_id):
        constant = (unit.cell_id, unit.weights_sha256, unit.base_sha256)
        ids, weights, bases = (pa.array([text] * part.num_rows, pa.string()) for text in constant)
        tables.append(pa.Table.from_arrays([ids, *part.columns, weights, bases], schema=layers_schema()))
    table = pa.concat_tables(tables).combine_chunks() if tables else layers_schema().empty_table()
    return table.replace_schema_metadata({b"release_kit.layer_changes_schema": str(SCHEMA_VERSION).encode()})


def _measured(
    study: Study, units: list[_Unit], store: PartStore, ranks: str
) -> Iterator[tuple[_Unit, Any, bool | ReleaseKitError]]:
    """Yield every unit with its part and whether it was computed now, or what is wrong; one base is open at a time."""
    base, opened = None, ""
    try:
        for unit in sorted(units, key=lambda unit: (unit.base, unit.cell_id)):
            table = store.get(unit.key)
            if table is not None:
                yield unit, table, False
                continue
            try:
                if opened != unit.base:
                    base, opened = _reopened(base, base_folder(study, unit.base)), unit.base
                changes = measure_changes(base, unit.folder, ranks=ranks)
                yield unit, store.put(unit.key, _part_table(changes)), True
            except ReleaseKitError as problem:
                yield unit, None, _on_cell(problem, unit.cell_id)
    finally:
        if base is not None:
            base.weights.close()


def _reopened(base: Base | None, folder: Path) -> Base:
    if base is not None:
        base.weights.close()
    return Base(folder)


def _part_schema():
    import pyarrow as pa

    kinds = {"tensor": pa.string(), "kind": pa.string(), "layer": pa.int32(), "n_elements": pa.int64()}
    return pa.schema([pa.field(name, kinds.get(name, pa.float64())) for name in TensorChange.__dataclass_fields__])


def _part_table(changes: list[TensorChange]):
    import pyarrow as pa

    rows = [asdict(change) for change in changes]
    return pa.Table.from_pylist(rows, schema=_part_schema())


def _units(study: Study, store: PartStore, ranks: str) -> tuple[list[_Unit], list[ReleaseKitError]]:
    """Return the cells to measure with the digests of what is on disk, and what is wrong with the others."""
    cells, broken = read_cells(study.folder)
    problems: list[ReleaseKitError] = list(broken)
    trained = {name: cell for name, cell in cells.items() if _is_trained(study, cell)}
    bases = _base_digests(study, trained, problems)
    units = []
    with DigestCache(default_cache_path()) as cache:
        for cell_id, cell in sorted(trained.items()):
            base = role_level(study, cell.levels, "base_model")
            if base not in bases:
                continue
            try:
                units.append(_unit(study, cell, str(base), bases[base], cache, store, ranks))
            except ReleaseKitError as problem:
                problems.append(_on_cell(problem, cell_id))
    return units, problems


def _is_trained(study: Study, cell: Cell) -> bool:
    if not is_declared(study, cell.levels) or is_results_only(study, cell.levels):
        return False
    return role_level(study, cell.levels, "method") != UNTOUCHED


def _base_digests(study: Study, cells: Mapping[str, Cell], problems: list[ReleaseKitError]) -> dict[Any, str]:
    """Return base → digest of its weights; one problem for each base that is not there."""
    digests = {}
    for base in sorted({role_level(study, cell.levels, "base_model") for cell in cells.values()}, key=str):
        try:
            digests[base] = base_identity(base_folder(study, base)).weights_sha256
        except ReleaseKitError as problem:
            problems.append(StudyError(f"base {base!r} cannot be read: {problem}", where=str(study.folder)))
    return digests


def _unit(
    study: Study, cell: Cell, base: str, base_sha256: str, cache: DigestCache, store: PartStore, ranks: str
) -> _Unit:
    folder = artifact_folder(study.folder, cell)
    if not folder.is_dir():
        raise ArtifactError("has no weights on disk", where=str(folder), next_step="run the study to make them")
    adapter = is_adapter(folder)
    files = _digests(folder, (WEIGHTS_FILE,) if adapter else model_files(folder), cache)
    _check_recorded(cell, folder, files, base_sha256)
    digest = digest_of_files(files)
    inputs = {"weights": digest, "base": base_sha256}
    if adapter:
        # Ranks of adapters are always computed.
        inputs["adapter"] = file_sha256(folder / CONFIG_FILE)
    # Asking for every key keeps the parts that other choices of ranks made.
    keys = {mode: store.key({**inputs, "ranks": None if adapter else mode}) for mode in RANK_MODES}
    return _Unit(
        cell_id=cell.cell_id, folder=folder, base=base, weights_sha256=digest, base_sha256=base_sha256,
        key=keys[ranks],
    )  # fmt: skip


def _check_recorded(cell: Cell, folder: Path, files: Mapping[str, str], base_sha256: str) -> None:
    """Refuse weights, or a base, that are not those that the cell says it was made with."""
    recorded = cell.provenance.get("artifact")
    for name, digest in files.items():
        expected = recorded.get(name) if isinstance(recorded, Mapping) else None
        if expected is not None and expected != digest:
            what = f"is not what cell.json recorded (expected {expected[:12]}, got {digest[:12]})"
            raise IntegrityError(what, where=str(folder / name), next_step="make the cell again")
    base = cell.provenance.get("base_model")
    expected = base.get("digest") if isinstance(base, Mapping) else None
    if isinstance(expected, str) and expected != base_sha256:
        what = f"was trained from other weights of its base (expected {expected[:12]}, the base has {base_sha256[:12]})"
        raise IntegrityError(what, where=str(folder), next_step="put that base back, or train the cell again")


def _digests(folder: Path, names: tuple[str, ...], cache: DigestCache) -> dict[str, str]:
    found = digest_files([folder / name for name in names], cache=cache, tensors=False, git=False, workers=1)
    digests = {}
    for name, digest in zip(names, found, strict=True):
        if isinstance(digest, ReleaseKitError):
            raise digest
        digests[name] = digest.sha256
    return digests


def _on_cell(problem: ReleaseKitError, cell_id: str) -> ReleaseKitError:
    """Return the same problem with the cell's id in its place."""
    return type(problem)(problem.what, where=f"cell {cell_id}: {problem.where}", next_step=problem.next_step)
