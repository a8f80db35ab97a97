"""Finished autoencoders on disk: their records, their tensors, and whether they are what the study asks for.

Finished is what has ``sae.json``, written last, beside files of the sizes that it names. Writing is ``train/write.py``.
"""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.core.errors import RecordError
from release_kit.sae.dictionary import Sae
from release_kit.sae.errors import SaeError
from release_kit.sae.pipeline import paths
from release_kit.sae.pipeline.identity import Identities, changes
from release_kit.sae.pipeline.paths import SAE_FILE, SaeKey, sae_folder
from release_kit.sae.pipeline.plan import Selection, keys
from release_kit.sae.spec.model import SaeStudy

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class FinishedSae:
    """One finished autoencoder.

    Attributes:
        key: which one.
        folder: where it lies, in SAELens' layout.
        record: ``sae.json``: identity, identity_digest, config, files, tokens_seen, warm_from, versions.
    """

    key: SaeKey
    folder: Path
    record: Mapping[str, Any]

    @property
    def identity_digest(self) -> str:
        """Digest of everything that decides its bytes."""
        return self.record["identity_digest"]

    @property
    def files_digest(self) -> str:
        """Digest of its bytes: what is measured of it is of these."""
        return canonical.digest({name: said["sha256"] for name, said in self.record["files"].items()})

    def load(self) -> Sae:
        """Return its tensors, once every file was held against its digest.

        Raises:
            SaeError: a file is missing or damaged.
        """
        from release_kit.sae.formats.saelens import read_saelens

        self.check()
        return read_saelens(self.folder).sae

    def check(self) -> None:
        """Hold every file against its digest.

        Raises:
            SaeError: names the files that are missing or damaged.
        """
        wrong = []
        for name, said in self.record["files"].items():
            try:
                data = (self.folder / name).read_bytes()
            except OSError:
                wrong.append(f"{name} is missing")
                continue
            if hashlib.sha256(data).hexdigest() != said["sha256"]:
                wrong.append(f"{name} is damaged")
        if wrong:
            step = f"remove {self.folder / SAE_FILE} and run again with --retry-failed: the same bytes are made"
            raise SaeError("; ".join(wrong), where=str(self.folder), next_step=step)


@dataclass(frozen=True, kw_only=True)
class StaleSae:
    """A finished autoencoder that was made from something else than the study asks for now."""

    key: SaeKey
    changed: str
    unknown: bool = False
    """Its model cannot be looked at."""

    def sentence(self) -> str:
        """Return one line: which one, what changed."""
        return f"{self.key.title}: {self.changed}"


def is_finished(study_folder: Path, key: SaeKey) -> bool:
    """Return whether an autoencoder is complete on disk, whatever it was made from."""
    return _read(sae_folder(study_folder, key)) is not None


def read_finished(study_folder: Path, key: SaeKey) -> FinishedSae:
    """Return a finished autoencoder: its record, for ``load`` and ``check``.

    Raises:
        SaeError: it is not finished.
    """
    folder = sae_folder(study_folder, key)
    record = _read(folder)
    if record is None:
        step = "release-kit sae run trains what is missing"
        raise SaeError("this autoencoder is not finished", where=str(folder), next_step=step)
    return FinishedSae(key=key, folder=folder, record=record)


def list_finished(study: SaeStudy, select: Selection | None = None) -> tuple[FinishedSae, ...]:
    """Return the finished autoencoders that the study plans, in its order."""
    return tuple(read_finished(study.folder, key) for key in keys(study, select) if is_finished(study.folder, key))


def find_stale(study: SaeStudy, wanted: Sequence[SaeKey] | None = None) -> tuple[StaleSae, ...]:
    """Return finished autoencoders whose identity is another than the study's now, with what changed.

    Args:
        study: the study.
        wanted: those that are looked at; all if None.

    Raises:
        SaeError: the texts cannot be read.
    """
    identities, stale = Identities(study), []
    for key in keys(study) if wanted is None else wanted:
        if not is_finished(study.folder, key):
            continue
        there = read_finished(study.folder, key)
        try:
            asked = identities.of(key)
        except SaeError as error:
            stale.append(StaleSae(key=key, changed=f"its model cannot be looked at: {error.what}", unknown=True))
            continue
        if canonical.digest(asked) != there.identity_digest:
            changed = changes(dict(there.record["identity"]), asked) or "its record was changed by hand"
            stale.append(StaleSae(key=key, changed=changed))
    return tuple(stale)


def remove_made(study_folder: Path, key: SaeKey) -> None:
    """Remove an autoencoder with its measures and interventions; the record that says finished goes first."""
    places = (
        (paths.intervention_folder(study_folder, key), paths.INTERVENTION_FILE),
        (paths.measure_folder(study_folder, key), paths.MEASURE_FILE),
        (sae_folder(study_folder, key), SAE_FILE),
    )
    for folder, name in places:
        (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(paths.run_folder(study_folder, key), ignore_errors=True)


def _read(folder: Path) -> Mapping[str, Any] | None:
    """Return the record of a finished autoencoder; None when it is missing, no record, or files have other sizes."""
    try:
        record = canonical.read_json(folder / SAE_FILE)
        whole = record["schema_version"] == SCHEMA_VERSION and all(
            (folder / name).stat().st_size == said["bytes"] for name, said in record["files"].items()
        )
    except (OSError, RecordError, KeyError, TypeError, AttributeError):
        return None
    return record if whole else None
