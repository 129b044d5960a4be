"""exa completion: what a shell needs to complete exa's words."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

VARIABLE = "_EXA_COMPLETE"
"""click's own: ``_EXA_COMPLETE=bash_complete exa`` answers a TAB."""


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print what makes a shell complete verbs, options, runs, sites and keys of --set.

    \b
    Example:
      exa completion bash > ~/.local/share/bash-completion/completions/exa
      exa completion zsh > "${fpath[1]}/_exa"
      exa completion fish > ~/.config/fish/completions/exa.fish
    """
    made = get_completion_class(shell)
    assert made is not None  # click has all three
    group = click.get_current_context().find_root().command
    click.echo(made(group, {}, "exa", VARIABLE).source(), nl=False)
