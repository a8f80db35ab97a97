"""A small finished study of autoencoders on disk: real tensors in SAELens' layout, records, tables. Nothing is trained.

Two sizes, three steps, two layers, two seeds; planned and made: 24 autoencoders.
"""

import hashlib
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from sae.small_study import write_study

from release_kit.core import canonical
from release_kit.sae.config import SaeConfig
from release_kit.sae.dictionary import Sae
from release_kit.sae.formats.saelens import write_saelens
from release_kit.sae.pipeline.paths import SAE_FILE, SaeKey, sae_folder
from release_kit.sae.pipeline.plan import keys
from release_kit.sae.spec.model import SaeStudy
from release_kit.sae.spec.read import read_study
from release_kit.sae.tables.intact import SCHEMA_VERSION, settings_of

WIDTHS = {"small": 16, "large": 24}
N_FEATURES, K = 48, 4
NULLS = {"random-model": 0.97, "permuted-languages": 0.9}


def make_study(
    folder: Path, *, licence: str | None = "cc-by-4.0", architecture: str = "topk", normalise: str = "unit-norm"
) -> SaeStudy:
    """Write a finished study and return it."""
    write_study(folder, architecture=architecture, normalise=normalise)
    if licence:
        file = folder / "sae.yaml"
        file.write_text(file.read_text().replace("context: 24}", f"context: 24, licence: {licence}}}"))
    study = read_study(folder)
    for key in keys(study):
        write_one(study, key)
    write_tables(study)
    return study


def make_sae(key: SaeKey, architecture: str = "topk", normalise: str = "none") -> Sae:
    """Return an autoencoder whose tensors follow from its key."""
    d_in = WIDTHS[key.size]
    generator = torch.Generator().manual_seed(1000 * key.step + 100 * key.layer + 10 * key.seed + d_in)
    w_enc = torch.randn(N_FEATURES, d_in, generator=generator)
    w_dec = torch.nn.functional.normalize(torch.randn(N_FEATURES, d_in, generator=generator), dim=1)
    bias = 0.1 * torch.randn(N_FEATURES, generator=generator), 0.1 * torch.randn(d_in, generator=generator)
    topk = architecture == "topk"
    config = SaeConfig(
        architecture=architecture, d_in=d_in, n_features=N_FEATURES, k=K if topk else None, normalise=normalise
    )
    threshold = None if topk else torch.full((N_FEATURES,), 0.05)
    return Sae(config=config, w_enc=w_enc, b_enc=bias[0], w_dec=w_dec, b_dec=bias[1], threshold=threshold)


def write_one(study: SaeStudy, key: SaeKey) -> Path:
    """Write one finished autoencoder as training does, and return its folder."""
    folder = sae_folder(study.folder, key)
    sae = make_sae(key, study.sae.architecture, study.sae.normalise)
    metadata = {
        "model_name": f"{study.name}/models/{key.size}/step-{key.step}",
        "hook_name": f"blocks.{key.layer - 1}.hook_resid_post",
        "hook_meaning": f"residual stream after block {key.layer} (counted from 1), before the final norm",
        "context_size": 24, "prepend_bos": True, "dataset_path": study.text.source,
    }  # fmt: skip
    write_saelens(sae, folder, metadata)
    training = {name: value for name, value in asdict(study.training).items() if name != "checkpoint_every"}
    identity = {
        "recipe": 1, "layer": key.layer, "seed": key.seed, "model": f"{key.step:064d}", "text": "0" * 64,
        "sae": {**asdict(study.sae), "groups": list(study.sae.groups)}, "training": training, "warm_from": None,
    }  # fmt: skip
    record = {
        "schema_version": 1, "identity": identity, "identity_digest": canonical.digest(identity),
        "config": sae.config.to_json(), "files": {path.name: digested(path) for path in sorted(folder.iterdir())
                                                  if path.name != SAE_FILE},
        "tokens_seen": 1280, "warm_from": None, "versions": {"torch": "2.13"},
    }  # fmt: skip
    (folder / SAE_FILE).write_bytes(canonical.document_bytes(record))
    return folder


def write_tables(study: SaeStudy) -> None:
    """Write the tables that a release needs, with figures that follow from the keys."""
    saes, nulls = [], []
    for key in keys(study):
        cell = asdict(key)
        fvu = 0.9 / (1 + key.step) + 0.01 * key.layer + 0.001 * key.seed + 0.0001 * WIDTHS[key.size]
        figures = {"fvu": fvu, "explained_variance": 1 - fvu, "cosine": 1 - fvu / 2, "l0": 3.5 + fvu}
        for language in ("", "en", "ja"):
            saes += [{**cell, "metric": m, "language": language, "value": v + 0.002 * len(language)}
                     for m, v in figures.items()]  # fmt: skip
        share = 0.5 + 0.01 * key.layer + 0.003 * key.step + 0.0007 * key.seed + 0.0003 * WIDTHS[key.size]
        saes += [{**cell, "metric": "bilingual_count", "language": "", "value": share},
                 {**cell, "metric": "ce_score", "language": "", "value": float("nan")}]  # fmt: skip
        own = {**cell, "rule": "rate", "by": "count", "class": "bilingual", "share": share, "low": share - 0.05,
               "high": share + 0.05, "n": 40.0}  # fmt: skip
        none = {"null": "", "null_share": None, "null_low": None, "null_high": None, "null_n": None, "verdict": ""}
        nulls.append({**own, **none})
        nulls += [{**own, "null": null, "null_share": level, "null_low": level - 0.02, "null_high": level + 0.02,
                   "null_n": 40.0, "verdict": "below"} for null, level in NULLS.items()]  # fmt: skip
    folder = study.folder / "tables"
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist([{**row, "source": "measures"} for row in saes]), folder / "saes.parquet")
    pq.write_table(pa.Table.from_pylist(nulls), folder / "nulls.parquet")
    files = {path.name: digested(path) for path in sorted(folder.glob("*.parquet"))}
    record = {"schema_version": SCHEMA_VERSION, "settings": settings_of(study), "files": files, "sources": {}}
    (folder / "tables.json").write_bytes(canonical.document_bytes(record))


def digested(path: Path) -> dict:
    """Return size and digest of a file as records have them."""
    data = path.read_bytes()
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
