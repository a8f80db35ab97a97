"""The commands of the local Hub: ``hub serve`` and ``hub fsck``."""

import asyncio
import importlib.util
import signal
from pathlib import Path
from typing import Any

import click

from release_kit.cli.output import emit, json_option
from release_kit.core.errors import MissingExtraError, UsageError

DEFAULT_ROOT = Path("~/.local/share/release-kit/hub")


@click.group("hub")
def hub_group() -> None:
    """The local Hub: a server on this machine that huggingface_hub and everything above it can use."""


@hub_group.command("serve")
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    default=DEFAULT_ROOT,
    show_default=True,
    help="Folder of the repositories; made when it is missing.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; others need --tokens.")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0 takes a free one.")
@click.option("--tokens", type=click.Path(path_type=Path), help="JSON file of tokens and roles; see docs/local-hub.md.")
@click.option("--faults", type=click.Path(path_type=Path), help="JSON fault plan, for rehearsals.")
@click.option(
    "--durability",
    type=click.Choice(["full", "fast"]),
    default="full",
    show_default=True,
    help="full: answer when the disk has it. fast: survives a killed server, not a power cut.",
)
@click.option("--access-log", type=click.Path(path_type=Path), help="Append one JSON line for each request.")
@click.option(
    "--rate-limit",
    type=(click.IntRange(1), click.IntRange(1)),
    metavar="API RESOLVERS",
    help="Refuse more requests than these in 5 minutes, as the public Hub does.",
)
@json_option
def serve_command(as_json: bool, **options: Any) -> None:
    """Serve the local Hub until Ctrl-C; the address is printed when it answers.

    \b
    Example:
      release-kit hub serve --root hub/ --port 8765
      HF_ENDPOINT=http://127.0.0.1:8765 hf upload me/model ./model
    """
    server = _server(**options)

    def announce() -> None:
        value = {"ok": True, "endpoint": server.endpoint, "root": str(server.hub.settings.root)}
        emit(as_json, value, server.endpoint)
        click.echo(f"serving {value['root']}; use it with: export HF_ENDPOINT={server.endpoint}", err=True)

    asyncio.run(_serve(server, announce))


async def _serve(server: Any, announce: Any) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, server.stop)
    await server.run(announce)


def _server(
    *,
    root: Path,
    host: str,
    port: int,
    tokens: Path | None,
    faults: Path | None,
    durability: Any,
    access_log: Path | None,
    rate_limit: tuple[int, int] | None,
) -> Any:
    for package in ("uvicorn", "httptools"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "hub")
    from release_kit.hub.server import Access, FaultPlan, HubServer, HubSettings, RateLimits, RequestLog
    from release_kit.hub.server.auth import read_tokens
    from release_kit.hub.server.faults import read_faults

    access = Access(users=read_tokens(tokens) if tokens else {})
    limits = RateLimits(api=rate_limit[0], resolvers=rate_limit[1]) if rate_limit else None
    settings = HubSettings(root=root.expanduser(), durability=durability, access=access, rate_limits=limits)
    log = RequestLog(keep=False, file=access_log)
    plan = FaultPlan(read_faults(faults)) if faults else None
    return HubServer(settings, host=host, port=port, log=log, plan=plan)


@hub_group.command("fsck")
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    default=DEFAULT_ROOT,
    show_default=True,
    help="Folder of the repositories.",
)
@click.option("--quick", is_flag=True, help="Check presence and size only; do not read the content.")
@json_option
def fsck_command(root: Path, quick: bool, as_json: bool) -> None:
    """Check that a stopped Hub's folder holds all content that its commits name.

    \b
    Example:
      release-kit hub fsck --root hub/
    """
    from release_kit.hub.server import check_folder

    folder = root.expanduser()
    if not (folder / "hub.sqlite3").exists():
        step = "pass the --root of `hub serve`"
        raise UsageError("there is no Hub in this folder", where=str(folder), next_step=step)
    report = check_folder(folder, deep=not quick)
    counts = f"{report.n_repos} repositories, {report.n_commits} commits, {report.n_objects} contents"
    verdict = f"{len(report.problems)} problems, {report.n_orphans} unused contents"
    lines = [*report.problems, f"{counts} ({report.n_bytes:,} bytes): {verdict}"]
    emit(as_json, report.to_dict(), "\n".join(lines))
    if report.problems:
        raise click.exceptions.Exit(1)
