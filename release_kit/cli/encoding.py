"""``release-kit encoding``: commands that predict recordings from annotated films; each is a file of its own."""

import click

from release_kit.cli import LazyGroup

ENCODING_COMMANDS = {
    "fetch": (
        "release_kit.cli.encoding_fetch:fetch",
        "Get one subject and level of a published dataset, and nothing else.",
    ),
    "init": ("release_kit.cli.encoding_init:init_command", "Look at a dataset and write a first analysis of it."),
    "check": (
        "release_kit.cli.encoding_check:check_command",
        "Say what an analysis will do, and everything that is wrong with it.",
    ),
    "features": ("release_kit.cli.encoding_features:features_command", "Make the features of an analysis."),
    "run": ("release_kit.cli.encoding_run:run_command", "Run an analysis to its tables; continues where it stopped."),
    "report": ("release_kit.cli.encoding_report:report_command", "Write maps and report of a finished analysis."),
    "simulate": (
        "release_kit.cli.encoding_simulate:simulate_command",
        "Write a study whose truth is known, or judge its analysis.",
    ),
    "demo": ("release_kit.cli.encoding_demo:demo_command", "Find what was planted, on a real cortical surface."),
}
"""Command → (module:attribute, one line of help), in the order of work."""


@click.group("encoding", cls=LazyGroup, commands_table=ENCODING_COMMANDS)
def encoding_group() -> None:
    """Predict recordings from what was shown, voxel by voxel, and say how sure that is.

    An analysis is one file, encoding.yaml; what it holds stands in docs/formats/encoding.md.

    \b
    Example:
      release-kit encoding init dataset/ --out analysis/encoding.yaml
      release-kit encoding check analysis/     # samples, models, memory, time, all that is wrong
      release-kit encoding run analysis/       # features, models, tests, tables
      release-kit encoding run analysis/ --mode both     # and what the published code's choices change
    """
