"""``release-kit sft``: the group of commands that run a fine-tuning study; each is a file of its own."""

import click

from release_kit.cli import LazyGroup

SFT_COMMANDS = {
    "prepare": ("release_kit.cli.sft_prepare:prepare_command", "Make the base models and datasets that a study names."),
    "plan": ("release_kit.cli.sft_plan:plan_command", "Show runs, cells, tokens, time and storage before the start."),
    "audit": ("release_kit.cli.sft_audit:audit_command", "Say what of every example is trained on, before training."),
    "run": ("release_kit.cli.sft_run:run_command", "Train and evaluate every cell; continues where it was stopped."),
    "worker": ("release_kit.cli.sft_run:worker_command", "Join a run from another process or machine."),
    "status": ("release_kit.cli.sft_run:status_command", "Show what is done, running, failed and waiting."),
    "evaluate": ("release_kit.cli.sft_evaluate:evaluate_command", "Evaluate one model on task files."),
    "measure": ("release_kit.cli.sft_measure:measure_command", "Measure datasets and layer changes."),
    "analyse": ("release_kit.cli.sft_analyse:analyse_command", "Gains, verdicts, maps, figures and the report."),
}
"""Command → (module:attribute, one line of help), in the order of work."""


@click.group("sft", cls=LazyGroup, commands_table=SFT_COMMANDS)
def sft_group() -> None:
    """Run a study of fine-tuned models: a grid of bases, datasets, methods and seeds.

    \b
    Example:
      release-kit sft prepare studies/mini.yaml --dir mini/
      release-kit sft plan mini/
      release-kit sft run mini/ --workers 2
      release-kit sft measure mini/ && release-kit sft analyse mini/
      release-kit build mini/ && release-kit check mini/
    """
