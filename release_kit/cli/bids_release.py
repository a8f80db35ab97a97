"""``release-kit bids release``: the study that releases a dataset on a Hub."""

import shlex
from pathlib import Path
from typing import Any

import click

from release_kit.cli.bids_identity import require_names, search_of, search_options
from release_kit.cli.output import counted, emit, json_option

UNSEARCHED = "  not searched for the names of who took part: publish will refuse it; run again with --recipe"


@click.command("release")
@click.argument("dataset", type=click.Path(file_okay=False, path_type=Path))
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of the study.")
@click.option("--name", default=None, help="Name of the release and of its repo; default: that of the dataset.")
@click.option("--version", default=None, help="Its version; default: what the dataset's recipe or CHANGES says.")
@click.option("--to", "namespace", metavar="NAMESPACE", default=None, help="Account that the card names.")
@click.option("--recipe", type=click.Path(path_type=Path), help="Recipe that DATASET was converted from: lists names.")
@search_options
@json_option
def release_command(
    dataset: Path, out: Path, name: str | None, version: str | None, namespace: str | None, recipe: Path | None,
    words: tuple[str, ...], no_words: bool, vouched: tuple[str, ...], as_json: bool,
) -> None:  # fmt: skip
    """Make the study that releases DATASET on a Hub: one part for each subject and each level of annotation.

    DATASET is listed and linked, not copied. Run it again when the dataset has changed; what you added to study.yaml
    stays. Then `build`, `check`, `publish`, `download` and `verify` as with any study: on the Hub, and in a download,
    every file lies at its own path in the dataset. `publish` sends only what was searched here, or at `bids save`, for
    what may identify a person.

    \b
    Example:
      release-kit bids release dataset/ --out release-study/ --to my-lab
      release-kit build release-study/
      release-kit publish release-study/ --to my-lab
      release-kit download my-lab/films@v1.0.0 copy/ --select subject=01
    """
    from release_kit.bids.release_study import write_release_study
    from release_kit.core.digest_cache import DigestCache, default_cache_path

    search = search_of(recipe, words, no_words, vouched)
    require_names(search, recipe)
    with DigestCache(default_cache_path()) as cache:
        report = write_release_study(
            dataset, out, name=name, version=version, namespace=namespace, search=search, cache=cache
        )  # fmt: skip
    emit(as_json, {"ok": True, **_value(report, out)}, lambda: _text(report, out))


def _value(report: Any, out: Path) -> dict[str, Any]:
    return {
        "study": report.study.name,
        "version": report.study.version,
        "folder": str(out),
        "subjects": list(report.subjects),
        "levels": list(report.levels),
        "n_files": report.n_files,
        "n_shared": report.n_shared,
        "searched": report.searched,
        "written": list(report.written),
    }


def _text(report: Any, out: Path) -> str:
    what = f"{counted(len(report.subjects), 'subject')}, {counted(len(report.levels), 'level')} of annotation"
    lines = [
        f"{report.study.name} {report.study.version}: {what}",
        f"  {counted(report.n_files, 'file')}, {report.n_shared} of them shared by all parts",
        f"  {counted(len(report.written), 'file')} of the study written" if report.written else "  nothing has changed",
        *(() if report.searched else (UNSEARCHED,)),
        f"  next: release-kit build {shlex.quote(str(out))}",
    ]
    return "\n".join(lines)
