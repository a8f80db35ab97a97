"""``release-kit sign``: keys and signatures, offline."""

import os
import sys
from pathlib import Path

import click

from release_kit.cli.output import emit, json_option
from release_kit.core.errors import UsageError

PASSPHRASE_VARIABLE = "RELEASE_KIT_KEY_PASSPHRASE"


@click.command("sign")
@click.argument("path", type=click.Path(path_type=Path), required=False)
@click.option("--key", "key_path", type=click.Path(path_type=Path), help="Private key in PEM.")
@click.option("--new-key", "new_key", type=click.Path(path_type=Path), help="Make private.pem and public.pem there.")
@click.option("--algorithm", default="ec-p256", show_default=True, help="Of a new key: ec-p256 or ed25519.")
@click.option("--ask-passphrase", is_flag=True, help="Encrypt the new key; asked for in the terminal.")
@click.option("--per-cell", type=click.Path(path_type=Path), help="Also write one model-signing file per cell there.")
@click.option("--cell", "cells", multiple=True, metavar="NAME", help="With --per-cell: only this cell; repeatable.")
@json_option
def sign_command(
    path: Path | None,
    key_path: Path | None,
    new_key: Path | None,
    algorithm: str,
    ask_passphrase: bool,
    per_cell: Path | None,
    cells: tuple[str, ...],
    as_json: bool,
) -> None:
    """Sign the release in PATH (a built study or a download): one signature over its manifest.

    The signature proves the manifest and the manifest proves every file; `release-kit verify --key` checks both.
    The passphrase of an encrypted key is read from RELEASE_KIT_KEY_PASSPHRASE or asked for in the terminal.

    \b
    Example:
      release-kit sign --new-key keys/
      release-kit sign study/ --key keys/private.pem
      release-kit verify copy/ --key keys/public.pem
      release-kit sign study/ --key keys/private.pem --per-cell signatures/
    """
    if (new_key is None) == (path is None):
        raise UsageError("name either a release to sign or --new-key DIR", next_step="release-kit sign --help")
    if new_key is not None:
        _make_key(new_key, algorithm, ask_passphrase, as_json)
        return
    if key_path is None:
        raise UsageError("signing needs --key FILE", next_step="release-kit sign --new-key DIR makes one")
    if cells and per_cell is None:
        raise UsageError("--cell goes with --per-cell DIR")
    _sign(path, key_path, per_cell, cells, as_json)


def _make_key(folder: Path, algorithm: str, ask: bool, as_json: bool) -> None:
    from release_kit.release.sign.keys import PRIVATE_KEY_FILE, PUBLIC_KEY_FILE, write_key_pair

    passphrase = os.environ.get(PASSPHRASE_VARIABLE)
    if ask and not passphrase:
        passphrase = click.prompt("Passphrase of the new key", hide_input=True, confirmation_prompt=True, err=True)
    public = write_key_pair(folder, algorithm, passphrase)
    value = {
        "ok": True,
        "private_key": str(folder / PRIVATE_KEY_FILE),
        "public_key": str(folder / PUBLIC_KEY_FILE),
        "algorithm": public.algorithm,
        "fingerprint": public.fingerprint,
        "encrypted": bool(passphrase),
    }
    text = (
        f"{public.algorithm} key, sha256:{public.fingerprint}\n"
        f"  private    {value['private_key']}  (keep it to yourself{'' if passphrase else '; it is not encrypted'})\n"
        f"  public     {value['public_key']}  (give it to your readers on another way than the release)"
    )
    emit(as_json, value, text)


def _sign(path: Path, key_path: Path, per_cell: Path | None, cells: tuple[str, ...], as_json: bool) -> None:
    from release_kit.release.sign.keys import read_private_key
    from release_kit.release.sign.release import sign_cells, sign_release

    key = read_private_key(key_path, _passphrase)
    report = sign_release(path, key)
    written = sign_cells(path, key, per_cell, cells) if per_cell is not None else []
    info = report.info
    value = {
        "ok": True,
        "signature": str(report.signature),
        "written": report.written,
        "study": info.study,
        "version": info.version,
        "root": info.root,
        "manifest_sha256": info.manifest_sha256,
        "algorithm": info.algorithm,
        "fingerprint": info.fingerprint,
        "cells": [str(target) for target in written],
    }
    lines = [
        f"signed {info.study} {info.version}",
        f"  root       sha256:{info.root}",
        f"  key        {info.algorithm} sha256:{info.fingerprint}",
        f"  signature  {report.signature}" + ("" if report.written else "  (it was already there)"),
    ]
    if per_cell is not None:
        lines.append(f"  cells      {len(written)} signatures in {per_cell}")
    emit(as_json, value, "\n".join(lines))


def _passphrase() -> str | None:
    if text := os.environ.get(PASSPHRASE_VARIABLE):
        return text
    return click.prompt("Passphrase", hide_input=True, err=True) if sys.stdin.isatty() else None
