"""Finished autoencoders → ``published/``, a study that ``release-kit build``, ``check`` and ``publish`` work on.

Each autoencoder is a cell whose files are hard links; figures and shares become its tables, the study's tables, report
and browser go along under ``extra/`` with one index of all autoencoders. Made anew, only what changed is written.
"""

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.core.cell import Cell, cell_folder, iter_cell_files, write_cell
from release_kit.core.files import iter_files, write_atomic, write_error
from release_kit.core.grid import cell_config, cell_id_of
from release_kit.core.study import STUDY_FILE, Study, parse_study
from release_kit.sae.errors import SaeError
from release_kit.sae.pipeline import paths
from release_kit.sae.pipeline.models import model_label
from release_kit.sae.pipeline.paths import PUBLISHED, REPORT, SAE_FILE, TABLES, SaeKey
from release_kit.sae.pipeline.plan import keys
from release_kit.sae.pipeline.read import FinishedSae, is_finished, read_finished
from release_kit.sae.publish.about import HOOK, attribution_of, release_values
from release_kit.sae.publish.index import INDEX_JSON, INDEX_PARQUET, index_json, index_parquet, index_rows
from release_kit.sae.publish.metrics import METRICS_TABLE, SHARES_TABLE, figures_table, read_figures, read_shares
from release_kit.sae.publish.outdated import refuse_outdated
from release_kit.sae.spec.model import SaeStudy

_MADE = "# made from sae.yaml and release.yaml by `release-kit sae release`: change those, and run it again\n"
EXTRA = "extra"
MODEL = "model"


@dataclass(frozen=True, kw_only=True)
class PublishedSaes:
    """What ``publish_cells`` made.

    Attributes:
        folder: the study for ``release-kit build``.
        n_saes: autoencoders in it.
        missing: planned and not made; the release says so.
        unmeasured: made, and without a figure.
    """

    folder: Path
    n_saes: int
    missing: tuple[SaeKey, ...]
    unmeasured: tuple[SaeKey, ...]


def publish_cells(study: SaeStudy) -> PublishedSaes:
    """Write ``published/`` of a study from what is finished of it.

    Args:
        study: whose autoencoders were trained and measured.

    Raises:
        SaeError: nothing is finished; an autoencoder is damaged, or of other settings than the study's; there are no
            tables, or they are of other measurements than those that lie there, or of a study that was declared
            otherwise; ``release.yaml`` cannot be used.
        RecordError: what ``release.yaml`` says is not what a study may say.
    """
    planned = keys(study)
    finished = _finished(study, planned)
    refuse_outdated(study, finished)
    out = study.folder / PUBLISHED
    text = _yaml_text(release_values(study, planned))
    declared = parse_study(text, folder=out, where=str(out / STUDY_FILE))
    cells = {one.key: _cell(declared, study, one) for one in finished}
    cell_ids = {key: cell.cell_id for key, cell in cells.items()}
    figures = read_figures(study.folder, cell_ids)
    write_atomic(out / METRICS_TABLE, _parquet(figures_table(figures)))
    shares = read_shares(study.folder, cell_ids)
    if shares is None:
        (out / SHARES_TABLE).unlink(missing_ok=True)
    else:
        write_atomic(out / SHARES_TABLE, _parquet(shares))
    for one in finished:
        _place(one, cell_folder(out, cells[one.key].cell_id) / MODEL)
        write_cell(out, cells[one.key])
    for path in list(iter_cell_files(out)):
        if path.parent.name not in cell_ids.values():
            shutil.rmtree(path.parent)
    rows = index_rows(finished, cell_ids, figures, [] if shares is None else shares.to_pylist())
    _place_extra(
        study.folder, out / EXTRA, {INDEX_JSON: index_json(study.name, rows), INDEX_PARQUET: index_parquet(rows)}
    )
    write_atomic(out / STUDY_FILE, text.encode())
    measured = {(row["size"], row["step"], row["layer"], row["seed"]) for row in figures}
    return PublishedSaes(
        folder=out,
        n_saes=len(finished),
        missing=tuple(key for key in planned if key not in cells),
        unmeasured=tuple(key for key in cells if (key.size, key.step, key.layer, key.seed) not in measured),
    )


def _finished(study: SaeStudy, planned: Sequence[SaeKey]) -> list[FinishedSae]:
    """Return every finished autoencoder, each held against its digests.

    Raises:
        SaeError: names what is damaged or of other settings, all at once; or nothing is finished.
    """
    found, wrong = [], []
    wanted = _settings(study)
    for key in planned:
        folder = paths.sae_folder(study.folder, key)
        if not is_finished(study.folder, key):
            if (folder / SAE_FILE).exists():
                wrong.append(f"{key.title}: {SAE_FILE} does not fit the files beside it")
            continue
        one = read_finished(study.folder, key)
        try:
            one.check()
        except SaeError as error:
            wrong.append(f"{key.title}: {error.what}")
            continue
        if problem := _other_identity(one, wanted):
            wrong.append(f"{key.title}: {problem}")
        found.append(one)
    if wrong:
        step = "release-kit sae run makes damaged ones again once their folder is removed, others with --redo-stale"
        shown = "; ".join(wrong[:5]) + (f"; … and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        raise SaeError(f"cannot be released: {shown}", where=str(study.folder / paths.SAES), next_step=step)
    if not found:
        step = f"release-kit sae run {study.folder}"
        raise SaeError("no autoencoder is finished", where=str(study.folder), next_step=step)
    return found


def _settings(study: SaeStudy) -> dict[str, Any]:
    from dataclasses import asdict

    training = {name: value for name, value in asdict(study.training).items() if name != "checkpoint_every"}
    return {"sae": {**asdict(study.sae), "groups": list(study.sae.groups)}, "training": training}


def _other_identity(one: FinishedSae, wanted: Mapping[str, Any]) -> str | None:
    """Return in what its own record contradicts its folder or the study; None when it does not."""
    identity = one.record["identity"]
    if canonical.digest(dict(identity)) != one.identity_digest:
        return f"{SAE_FILE} was changed by hand: its identity is not that of its digest"
    for name in ("layer", "seed"):
        if identity.get(name) != getattr(one.key, name):
            return f"{SAE_FILE} says {name} {identity.get(name)}"
    for name, value in wanted.items():
        if identity.get(name) != value:
            return f"was trained with other `{name}` settings than the study has now"
    return None


def _cell(declared: Study, study: SaeStudy, one: FinishedSae) -> Cell:
    key = one.key
    levels = {"size": key.size, "step": key.step, "layer": key.layer, "seed": key.seed}
    config = cell_config(declared, levels)
    provenance = {
        "artifact": {name: said["sha256"] for name, said in one.record["files"].items()},
        "attribution": attribution_of(study),
        "hook": HOOK,
        "identity_digest": one.identity_digest,
        "language_model": model_label(study, key.size, key.step),
        "language_model_digest": one.record["identity"].get("model"),
        "seed": key.seed,
        "tokens_seen": one.record["tokens_seen"],
        "versions": dict(one.record["versions"]),
        "warm_from": one.record["warm_from"],
    }
    return Cell(cell_id=cell_id_of(config), levels=levels, config=config, provenance=provenance)


def _place(one: FinishedSae, folder: Path) -> None:
    _mirror({name: one.folder / name for name in (*one.record["files"], SAE_FILE)}, folder)


def _place_extra(study_folder: Path, folder: Path, written: Mapping[str, bytes]) -> None:
    """Link tables and report into ``extra/`` and write the index; what is of an earlier time goes.

    Folders inside ``tables/`` hold what tables are made from quickly; they stay at home.
    """
    files = {
        f"{name}/{path}": study_folder / name / path
        for name in (TABLES, REPORT)
        if (study_folder / name).is_dir()
        for path, _ in iter_files(study_folder / name)
        if name != TABLES or "/" not in path
    }
    _mirror(files, folder, keep=written)
    for name, data in written.items():
        write_atomic(folder / name, data)


def _mirror(files: Mapping[str, Path], folder: Path, keep: Iterable[str] = ()) -> None:
    """Make a folder hold exactly these files, as hard links where the disk allows them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in [path for path, _ in iter_files(folder)]:
        if name not in files and name not in keep:
            (folder / name).unlink()
    for name, source in files.items():
        target = folder / name
        if target.exists() and os.path.samefile(target, source):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        try:
            os.link(source, target)
        except OSError:
            try:
                shutil.copy2(source, target)
            except OSError as error:
                raise write_error(target, error) from error


def _parquet(table: Any) -> bytes:
    from release_kit.sae.measure.write import table_bytes

    return table_bytes(table)


def _yaml_text(values: Mapping[str, Any]) -> str:
    import yaml

    return _MADE + yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=120)
