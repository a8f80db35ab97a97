"""``release-kit bids demo``: from recordings and annotations to a proved copy, as command lines that can be repeated.

Owns the order of the stages; every one of them runs the commands themselves. Each stage may be interrupted: the next
run keeps what is done.
"""

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from release_kit.cli.demo_damage import flip_one_byte
from release_kit.cli.demo_hub import local_hub
from release_kit.cli.demo_script import Script
from release_kit.cli.output import emit, json_option
from release_kit.core.errors import UsageError
from release_kit.core.study import read_study

N_STAGES = 7
NAMESPACE, ALIAS, VERSION, SUBJECT = "demo-bids", "boat", "1.0.0", "01"
AUTHOR = "release_kit demo <demo@example.org>"
DAMAGED = f"sub-{SUBJECT}/func/sub-{SUBJECT}_task-boat_run-02_bold.nii.gz"


@click.command("demo")
@click.option(
    "--dir", "folder", default="bids-demo", show_default=True, type=click.Path(file_okay=False, path_type=Path)
)
@click.option("--fresh", is_flag=True, help="Throw away what an earlier demo left in the folder.")
@json_option
def demo_command(folder: Path, fresh: bool, as_json: bool) -> None:
    """Run the whole way on real recordings: convert, judge, save, publish, get one subject, prove, damage, heal.

    Two people, two runs each, three levels of annotation by two annotators. The recordings come out of packages; the
    film is made up. Exit code 1 when any step does not come out as it must.

    \b
    Example:
      release-kit bids demo
      release-kit bids demo --dir /tmp/bids-demo --json
    """
    start = time.monotonic()
    _claim(folder, fresh)
    script = Script(
        say=lambda text: click.echo(text, err=as_json),
        n_stages=N_STAGES,
        environment={"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1", "HF_TOKEN": "", "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
    )
    references = run_bids_demo(script, folder)
    seconds = round(time.monotonic() - start, 1)
    result = {
        "ok": True,
        "seconds": seconds,
        "dataset": str(folder / "dataset"),
        "downloads": {"ria": str(folder / "from-ria"), "hub": str(folder / "from-hub")},
        "references": references,
        "steps": [step.to_dict() for step in script.steps],
    }
    emit(as_json, result, lambda: summary(folder, result))


def summary(folder: Path, result: Mapping[str, Any]) -> str:
    """Return the closing lines: what was shown and where to look."""
    lines = [
        f"\nThe demo took {result['seconds']:.0f} s; every step came out as it must.",
        f"  dataset     {result['dataset']}",
        f"  reports     {folder}/report/quality.html, {folder}/report/validation.html",
        f"  published   {', '.join(result['references'].values())}",
        f"  downloads   {', '.join(result['downloads'].values())}",
    ]
    return "\n".join(lines)


def run_bids_demo(script: Script, folder: Path) -> dict[str, str]:
    """Run every stage in ``folder`` and return where the dataset was published: ``ria`` and ``hub``."""
    from release_kit.bids.demo import write_demo_study

    with script.stage("Prepare: recordings and annotations, as a lab has them; the recipe is held against them"):
        recipe = str(write_demo_study(folder))
        script.run("bids", "check", recipe, must_say="0 errors")
    dataset, report = str(folder / "dataset"), folder / "report"
    with script.stage("Convert to BIDS, once for all"):
        script.run("bids", "convert", recipe, dataset)
        script.run("bids", "convert", recipe, dataset, must_say="0 files written")
    with script.stage("Judge: the annotations, then the dataset and each derivative"):
        script.run("bids", "quality", recipe, "--out", str(report), "--no-embed", must_say="0 errors")
        script.run(
            "bids", "validate", dataset, "--strict", "--recipe", recipe, "--html", str(report / "validation.html"),
            must_say="valid: 0 errors",
        )  # fmt: skip
    with script.stage("Save as a version under DataLad; publish to a RIA store"):
        script.run("bids", "save", dataset, "--version", VERSION, "--author", AUTHOR, "--recipe", recipe)
        script.run("bids", "publish", dataset, "--ria", str(folder / "store"), "--alias", ALIAS)
    store = f"ria+file://{(folder / 'store').resolve()}#~{ALIAS}"
    hub = _hub(script, folder, dataset)
    _ria(script, folder / "from-ria", store)
    _damage(script, folder / "from-ria", store)
    return {"ria": store, "hub": hub}


def _hub(script: Script, folder: Path, dataset: str) -> str:
    """Publish the dataset to a local Hub, download one subject of it and prove it."""
    study, target = str(folder / "release"), folder / "from-hub"
    with script.stage("Release on a Hub: a card, a config for each level; one subject comes back"):
        script.run("bids", "release", dataset, "--out", study)
        script.run("build", study)
        script.run("check", study)
        with local_hub(folder / "hub") as endpoint:
            script.run("publish", study, "--to", NAMESPACE, "--endpoint", endpoint)
            reference = f"{NAMESPACE}/{read_study(Path(study)).name}@v{VERSION}"
            script.run("download", reference, str(target), "--select", f"subject={SUBJECT}", "--endpoint", endpoint)
            script.run("verify", str(target))
    return reference


def _ria(script: Script, target: Path, store: str) -> None:
    with script.stage("Get one subject from the store into an empty place, and prove every byte of it"):
        script.run("bids", "get", store, str(target), "--subject", SUBJECT)
        script.run("bids", "verify", str(target))


def _damage(script: Script, target: Path, store: str) -> None:
    with script.stage("Damage one byte: it is found, and healed from the store"):
        image = target / DAMAGED
        image.resolve().chmod(0o644)
        position = flip_one_byte(image)
        script.say(f"    flipped one bit of byte {position:,} of {DAMAGED}")
        script.run("bids", "verify", str(target), "--no-validate", expect=1, must_say=DAMAGED)
        script.run("bids", "verify", str(target), "--no-validate", "--heal-from", store)
        script.run("bids", "verify", str(target))


def _claim(folder: Path, fresh: bool) -> None:
    """Refuse a folder that holds something else; make it otherwise."""
    from release_kit.bids.demo import MARK

    if folder.exists() and not folder.is_dir():
        raise UsageError("is a file", where=str(folder), next_step="name another --dir")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARK).is_file():
        what = f"is not empty, and no {MARK} in it says that a demo made it"
        if fresh:
            what += "; --fresh throws away nothing else"
        step = "name another --dir, or remove the folder yourself if nothing in it is needed"
        raise UsageError(f"{what}; nothing was touched", where=str(folder), next_step=step)
    if fresh and folder.is_dir():
        for path in folder.rglob("*"):  # contents under git-annex and their folders are read-only
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
