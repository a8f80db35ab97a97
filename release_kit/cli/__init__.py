"""The command line: one thin file per group of commands, loaded only when that command runs.

Owns the list of commands and the one place where errors become text and exit codes: 0 good, 1 refused or mismatch,
2 wrong usage. Results go to stdout, progress and logs to stderr.
"""

import gc
import importlib
import sys
from collections.abc import Mapping
from typing import Any

import click

from release_kit import __version__

COMMANDS = {
    "plan": ("release_kit.cli.study:plan_command", "Show what a study declares: factors, cells, sources."),
    "import": ("release_kit.cli.study:import_command", "Take in checkpoints that already exist, without moving them."),
    "results": (
        "release_kit.cli.study:results_command",
        "Collect results (CSV, lm-evaluation-harness) into one table.",
    ),
    "build": ("release_kit.cli.build:build_command", "Hash artifacts; write manifest, tables and cards."),
    "check": ("release_kit.cli.check:check_command", "Report everything that is wrong with a study or its release."),
    "cards": ("release_kit.cli.cards:cards_command", "Regenerate cards, or check that their numbers still hold."),
    "publish": ("release_kit.cli.publish:publish_command", "Publish a built release to a Hub."),
    "download": ("release_kit.cli.download:download_command", "Download a release, or some of its cells, verified."),
    "verify": ("release_kit.cli.verify:verify_command", "Prove that files are what the manifest says; repair them."),
    "sign": ("release_kit.cli.sign:sign_command", "Sign a release: one signature over its manifest."),
    "export": ("release_kit.cli.export:export_group", "Export as SHA256SUMS, BagIt, Croissant or RO-Crate."),
    "audit": ("release_kit.cli.audit:audit_command", "Examine releases made by others, from metadata only."),
    "sft": ("release_kit.cli.sft:sft_group", "Fine-tuning studies: prepare, plan, train, evaluate, analyse."),
    "bids": ("release_kit.cli.bids:bids_group", "Recordings and annotations to BIDS: convert, validate, save, prove."),
    "encoding": (
        "release_kit.cli.encoding:encoding_group",
        "Encoding models: predict recordings from annotated films, with statistics.",
    ),
    "sae": (
        "release_kit.cli.sae:sae_group",
        "Sparse autoencoders of bilingual models: train, classify, intervene, report.",
    ),
    "hub": ("release_kit.cli.hub:hub_group", "The local Hub: serve it on this machine."),
    "demo": ("release_kit.cli.demo:demo_command", "Run the whole loop on real small models."),
    "completion": ("release_kit.cli.completion:completion_command", "Print the completion script of a shell."),
}


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is asked for, not before.

    Args:
        commands_table: name → ("module:attribute", one line of help).
    """

    def __init__(self, *args: Any, commands_table: Mapping[str, tuple[str, str]] = COMMANDS, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._table = commands_table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of work, not of the alphabet."""
        return list(self._table)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import and return one command."""
        if name not in self._table:
            return None
        module, attribute = self._table[name][0].split(":")
        return getattr(importlib.import_module(module), attribute)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table above, so that ``--help`` imports none of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self._table.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="release-kit")
def cli() -> None:
    """Build, check, publish and verify scientific releases of models and datasets.

    \b
    Example:
      release-kit build study/          # hash, tables, cards, manifest
      release-kit check study/          # everything that is wrong, at once
      release-kit publish study/ --to my-lab
      release-kit download my-lab/study@v1.0.0 copy/
      release-kit verify copy/
    """


def main(argv: list[str] | None = None) -> None:
    """Run the command line and exit with 0, 1 or 2."""
    from release_kit.cli.output import run

    # A command makes many records that live until it ends; walking them again and again takes a tenth of its time.
    gc.set_threshold(100_000, 50, 100)
    sys.exit(run(cli, argv))
