"""``release-kit completion``: the completion script that click makes for a shell."""

import click
from click.shell_completion import get_completion_class

from release_kit.core.errors import UsageError


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    Example:
      release-kit completion bash > ~/.local/share/bash-completion/completions/release-kit
    """
    from release_kit.cli import cli

    kind = get_completion_class(shell)
    if kind is None:
        raise UsageError(f"no completion for {shell!r}")
    click.echo(kind(cli, {}, "release-kit", "_RELEASE_KIT_COMPLETE").source())
