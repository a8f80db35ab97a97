"""``release-kit sae``: the group of commands that run a study of sparse autoencoders; each is a file of its own."""

import click

from release_kit.cli import LazyGroup

SAE_COMMANDS = {
    "check": ("release_kit.cli.sae_check:check_command", "Say everything that is in the way of a study, at once."),
    "plan": ("release_kit.cli.sae_plan:plan_command", "Show what will be trained, its size, disk and time."),
    "run": ("release_kit.cli.sae_run:run_command", "Train, measure and intervene; continues where it was stopped."),
    "worker": ("release_kit.cli.sae_run:worker_command", "Join a run from another process or machine."),
    "status": ("release_kit.cli.sae_run:status_command", "Show what is done, running, failed and waiting."),
    "report": (
        "release_kit.cli.sae_report:report_command",
        "Judge claims beside their nulls; write the page and the browser.",
    ),
    "release": (
        "release_kit.cli.sae_release:release_command",
        "Make a study that build, check and publish take.",
    ),
    "import": ("release_kit.cli.sae_import:import_command", "Read an autoencoder of another layout."),
    "demo": ("release_kit.cli.sae_demo:demo_command", "From sentences to a release, on two cores."),
}
"""Command → (module:attribute, one line of help), in the order of work."""


@click.group("sae", cls=LazyGroup, commands_table=SAE_COMMANDS)
def sae_group() -> None:
    """Sparse autoencoders of language models over training steps, layers, sizes and seeds.

    A study is one file, sae.yaml; what it holds stands in docs/formats/sae.md.

    \b
    Example:
      release-kit sae check study/      # everything that is wrong, before anything is computed
      release-kit sae plan study/
      release-kit sae run study/ --workers 2
      release-kit sae status study/
      release-kit sae report study/
      release-kit sae release study/    # then build, check and publish study/published
    """
