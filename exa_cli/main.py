"""The command ``exa``: a group that loads a verb only when it is called.

Each verb is ``exa_cli/commands/VERB.py`` with a click command named ``command``. Its line in
the table below is all that ``exa --help`` needs.
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from exa_cli import __version__
from exa_cli.base.errors import ExaError, Unreachable

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

VERBS = {
    "init": "Write a commented run file that runs as it stands.",
    "submit": "Plan a run, write its script and submit it.",
    "plan": "Show what a submit would do, and why; submit nothing.",
    "resume": "Continue a run from its last committed step.",
    "watch": "Keep runs alive: hand in what their policy says comes next.",
    "status": "Show runs, or one run in detail.",
    "logs": "Show what a run printed.",
    "cancel": "End a run's job; it is not resubmitted.",
    "report": "Tell a run's story: attempts, lives, tokens, loss curve.",
    "data": "Prepare text for training; look at prepared data.",
    "site": "List, show, check and begin site profiles; tell which site this is.",
    "model": "List models; print exact parameters, FLOPs and bytes.",
    "ckpt": "List, verify, protect, repair, compare and export checkpoints.",
    "doctor": "Look at what exa needs on this machine.",
    "completion": "Print what makes a shell complete exa's words.",
}
HIDDEN = {"job": "The supervisor; a job script calls it."}

EXAMPLES = """\b
Examples:
  exa init && exa submit run.toml --follow
  exa status demo --watch
  exa resume demo
"""


class Verbs(click.Group):
    """A click group whose commands live in modules that are imported on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS and cmd_name not in HIDDEN:
            return None
        module = importlib.import_module(f"exa_cli.commands.{cmd_name}")
        command: click.Command = module.command
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The verbs by their lines here: a TAB loads none of them."""
        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        from click.shell_completion import CompletionItem

        return [CompletionItem(n, help=h) for n, h in VERBS.items() if n.startswith(incomplete)]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and args[0] not in HIDDEN:
            from exa_cli.spec.declare import nearest

            ctx.fail(f"there is no command {args[0]!r}; {nearest(args[0], VERBS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXAMPLES)
@click.version_option(__version__, prog_name="exa")
@click.option("--debug", is_flag=True, help="Show the Python trace of an error.")
def group(debug: bool) -> None:
    """Train large models through batch systems: plan, submit, watch, resume.

    stdout is data, stderr is talk. Every reading command has --json. Exit codes: 0 done,
    2 usage, 3 invalid request, 4 refused by the scheduler, 5 unreachable, 6 not found,
    7 damaged, 8 run failed, 9 findings, 130 interrupted (docs/cli.md).
    """


def main(argv: list[str] | None = None) -> None:
    """Entry point: run a verb and leave with a documented exit code."""
    _open_streams()
    args = sys.argv[1:] if argv is None else argv
    debug = "--debug" in args or bool(os.environ.get("EXA_DEBUG"))
    sys.exit(run([a for a in args if a != "--debug"], debug))


def run(args: list[str], debug: bool) -> int:
    """Run the command line ``args``; every outcome becomes an exit code and a message."""
    try:
        result: Any = group.main(args, prog_name="exa", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except ExaError as error:
        if debug:
            raise
        return _complain(error)
    except click.ClickException as error:
        error.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; a submitted job goes on", err=True)
        return 130
    except BrokenPipeError:
        _let_go_of_stdout()
        return 0
    except OSError as error:
        if debug:
            raise
        _let_go_of_stdout()
        return _complain(_of_the_system(error))
    except Exception as error:  # the last resort: say that it is a bug
        if debug:
            raise
        return _confess(error)


def _open_streams() -> None:
    """Open the null device for a standard stream that is closed: the next file opened would get
    its number, and whatever is printed with it. Text that the terminal's encoding lacks, and a
    path that is no text at all, are printed escaped."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
            setattr(sys, name, os.fdopen(number, "w" if number else "r"))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _let_go_of_stdout() -> None:
    """Keep the interpreter from writing once more, as it ends, what cannot be written."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _of_the_system(error: OSError) -> ExaError:
    """What the operating system refused where no verb has words of its own for it."""
    where = str(error.filename) if error.filename is not None else None
    hint = f"where in exa: {_trace(error)}"  # a job cannot be run again with --debug
    if where is None and error.errno == errno.ENOENT:
        where, hint = "the working directory", "it is gone: cd to one that is there"
    return Unreachable(error.strerror or str(error), where=where, hint=hint)


def _complain(error: ExaError) -> int:
    click.echo(click.style("exa: ", fg="red", bold=True) + str(error), err=True)
    return error.code


def _confess(error: Exception) -> int:
    click.echo(
        f"exa: this is a bug in exa: {type(error).__name__}: {error}\n"
        f"  at: {_trace(error)}\n"
        "  hint: send that file with your report; --debug shows the trace here",
        err=True,
    )
    return 1


def _trace(error: Exception) -> str:
    """Where the trace of an error was kept. Loaded here: no verb that works pays for it."""
    from exa_cli.base import trace

    return trace.keep(error)
