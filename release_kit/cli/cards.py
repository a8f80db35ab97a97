"""``release-kit cards``."""

from pathlib import Path

import click

from release_kit.cli.output import counted, emit, json_option
from release_kit.core.errors import UsageError

MAX_SHOWN = 40
"""Problems that are printed for people; ``--json`` has them all."""


@click.command("cards")
@click.argument("folder", metavar="STUDY", type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="Name every number that no longer follows from the results; write nothing.")
@click.option("--diff", is_flag=True, help="Show what regenerating would change; write nothing.")
@click.option("--lint", is_flag=True, help="Look at the front matter of every card; write nothing.")
@click.option(
    "--results", type=click.Path(path_type=Path), metavar="TABLE", help="Cards of others: the table behind them."
)
@click.option("--map", "mapping", multiple=True, metavar="NAME=COLUMN", help="Cards of others: which column is what.")
@click.option("--all", "everything", is_flag=True, help="Print every problem.")
@json_option
@click.pass_context
def cards_command(
    context: click.Context,
    folder: Path,
    check: bool,
    diff: bool,
    lint: bool,
    results: Path | None,
    mapping: tuple[str, ...],
    everything: bool,
    as_json: bool,
) -> None:
    """Regenerate the cards of STUDY that changed, or check that their numbers still hold.

    STUDY is a built study. With --check it may also be a download, or any folder with cards (README.md) that others
    wrote, with --results for the table that their numbers come from. Sections between hand-written markers are kept.
    Exit code 1 when something no longer follows.

    \b
    Example:
      release-kit cards study/                 # write the cards that changed
      release-kit cards study/ --check         # which numbers no longer follow?
      release-kit cards study/ --diff
      release-kit cards models/ --check --results scores.csv --map model=model_name
    """
    from release_kit.core.study import STUDY_FILE

    if sum((check, diff, lint)) > 1:
        raise UsageError("--check, --diff and --lint are three different questions", next_step="ask one at a time")
    own = (folder / STUDY_FILE).is_file() or folder.name == STUDY_FILE
    if (results is not None or mapping) and not check:
        raise UsageError("--results and --map belong to --check")
    if not own and not (check or lint):
        raise UsageError(f"{folder} holds no {STUDY_FILE}", next_step="name a study, or check cards with --check")
    if not own or results is not None:
        context.exit(_foreign(folder, results, mapping, lint, everything, as_json))
    if check or lint:
        context.exit(_check(folder, lint, everything, as_json))
    context.exit(_diff(folder, as_json) if diff else _write(folder, as_json))


def _foreign(
    folder: Path, results: Path | None, mapping: tuple[str, ...], lint: bool, everything: bool, as_json: bool
) -> int:  # fmt: skip
    from release_kit.core.manifest import MANIFEST_FILE
    from release_kit.release.cards.downloaded import check_downloaded
    from release_kit.release.cards.foreign import ResultsOfOthers, check_foreign, parse_map

    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    if mapping and results is None:
        raise UsageError("--map needs --results")
    if results is None and not lint and (folder / MANIFEST_FILE).is_file():
        return _emit_report(check_downloaded(folder), folder, everything, as_json, {})
    table = None if results is None else ResultsOfOthers(results, parse_map(mapping))
    report = check_foreign(folder, table)
    extra = {} if table is None else {"table": str(results), "table_sha256": table.sha256}
    return _emit_report(report, folder, everything, as_json, extra)


def _check(folder: Path, lint: bool, everything: bool, as_json: bool) -> int:
    inputs = _inputs(folder)
    if lint:
        from release_kit.release.cards.foreign import check_foreign

        dataset = inputs.study.folder / inputs.dataset.folder if inputs.dataset else None
        report = check_foreign(inputs.release_folder, None, dataset)
    else:
        from release_kit.release.cards.compare import check_cards

        report = check_cards(inputs)
    return _emit_report(report, inputs.release_folder, everything, as_json, {})


def _diff(folder: Path, as_json: bool) -> int:
    from release_kit.release.cards.compare import changed_cards, diff_text

    changes = [(path, diff_text(path, old, new)) for path, old, new in changed_cards(_inputs(folder))]
    value = {"ok": not changes, "changed": [{"path": path, "diff": text} for path, text in changes]}
    emit(as_json, value, lambda: "\n".join(text for _, text in changes) or "no card would change")
    return 1 if changes else 0


def _write(folder: Path, as_json: bool) -> int:
    from release_kit.release.cards.write import EDITED_FOLDER, write_cards

    inputs = _inputs(folder)
    done = write_cards(inputs)
    step = f"release-kit build {folder}"
    value = {"ok": True, "written": list(done.written), "kept_aside": list(done.kept_aside)}
    if done.written:
        value["next_step"] = step
    lines = [f"{len(done.written)} of the cards' files written" if done.written else "no card changed"]
    lines += [f"  {path}" for path in done.written[:MAX_SHOWN]]
    if len(done.written) > MAX_SHOWN:
        lines.append(f"  … and {len(done.written) - MAX_SHOWN} more")
    if done.kept_aside:
        aside = inputs.study.folder / ".release_kit" / EDITED_FOLDER
        lines.append(f"{len(done.kept_aside)} had been edited outside the hand-written sections; kept in {aside}")
    if done.written:
        lines.append(f"the manifest still names the old ones; next: {step}")
    emit(as_json, value, "\n".join(lines))
    return 0


def _inputs(folder: Path):
    from release_kit.core.study import read_study
    from release_kit.release.cards import read_card_inputs

    return read_card_inputs(read_study(folder))


def _emit_report(report, folder: Path, everything: bool, as_json: bool, extra: dict) -> int:
    value = {
        "ok": report.ok,
        "n_cards": report.n_cards,
        "n_numbers": report.n_numbers,
        **extra,
        "problems": [problem.to_dict() for problem in report.problems],
    }
    emit(as_json, value, lambda: _report_text(report, folder, None if everything else MAX_SHOWN))
    return 0 if report.ok else 1


def _report_text(report, folder: Path, limit: int | None) -> str:
    from release_kit.core.manifest import RELEASE_FOLDER

    lines, path = [], None
    for problem in report.problems[:limit]:
        if problem.path != path:
            path = problem.path
            lines.append(str(folder / path))
        lines.append(f"  {problem.line}: {problem.what}  [{problem.code}]")
    hidden = len(report.problems) - len(report.problems[:limit])
    if hidden:
        lines.append(f"… and {hidden} more; see them with --all")
    if report.problems:
        cards = len({problem.path for problem in report.problems})
        study = folder.parent if folder.name == RELEASE_FOLDER else folder
        wrong = f"{counted(len(report.problems), 'problem')} in {counted(cards, 'file')}"
        lines.append(f"{wrong}, of {counted(report.n_cards, 'card')}")
        steps = dict.fromkeys(
            problem.next_step.replace("STUDY", str(study)) for problem in report.problems if problem.next_step
        )
        lines += [f"next: {step}" for step in list(steps)[:3]]
    else:
        numbers = f"{report.n_numbers:,} numbers: all follow from the results"
        lines.append(f"{counted(report.n_cards, 'card')}, " + (numbers if report.n_numbers else "nothing to mend"))
    return "\n".join(lines)
