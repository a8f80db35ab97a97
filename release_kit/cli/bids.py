"""``release-kit bids``: commands that make, judge, version and prove BIDS datasets; each is a file of its own."""

import click

from release_kit.cli import LazyGroup

BIDS_COMMANDS = {
    "init": ("release_kit.cli.bids_init:init_command", "Write a first recipe from a folder by looking at it."),
    "check": (
        "release_kit.cli.bids_check:check_command",
        "Hold a recipe against the recordings before anything is written.",
    ),
    "convert": ("release_kit.cli.bids_convert:convert_command", "Make the dataset; continues where it was stopped."),
    "quality": (
        "release_kit.cli.bids_quality:quality_command",
        "Report on the annotations: coverage, overlaps, agreement.",
    ),
    "export": (
        "release_kit.cli.bids_export:export_command",
        "Write a dataset's annotations as TextGrid, CSV, SRT, VTT or Parquet.",
    ),
    "deface": (
        "release_kit.cli.bids_deface:deface_command",
        "Remove the face from an anatomical image, with a picture for review.",
    ),
    "validate": ("release_kit.cli.bids_validate:validate_command", "Judge a dataset, ours or anybody's; fails closed."),
    "save": ("release_kit.cli.bids_save:save_command", "Save as a version under DataLad."),
    "publish": (
        "release_kit.cli.bids_publish:publish_command",
        "Push a version to its siblings: RIA store, folder, plain tree.",
    ),
    "get": ("release_kit.cli.bids_get:get_command", "Fetch a dataset, or one subject or level of it."),
    "verify": (
        "release_kit.cli.bids_verify:verify_command",
        "Prove a downloaded dataset; heals it from a second source.",
    ),
    "release": (
        "release_kit.cli.bids_release:release_command",
        "Make a study of a dataset, for build, check and publish to the Hub.",
    ),
    "demo": ("release_kit.cli.bids_demo:demo_command", "The whole way on real recordings of two subjects."),
}
"""Command → (module:attribute, one line of help), in the order of work."""


@click.group("bids", cls=LazyGroup, commands_table=BIDS_COMMANDS)
def bids_group() -> None:
    """Turn recordings and annotations into a BIDS dataset under DataLad, and prove it after download.

    \b
    Example:
      release-kit bids init recordings/ --out study/recipe.yaml
      release-kit bids check study/recipe.yaml
      release-kit bids convert study/recipe.yaml dataset/
      release-kit bids validate dataset/
      release-kit bids save dataset/ --version 1.0.0 --recipe study/recipe.yaml
    """
