"""exa site: what exa knows of a machine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from exa_cli.base.errors import Findings, NotFound
from exa_cli.base.files import to_json
from exa_cli.base.talk import say, warn
from exa_cli.commands import _complete
from exa_cli.commands._common import emit, json_option
from exa_cli.login import newsite, sites


@click.group(name="site")
def command() -> None:
    """Site profiles: one TOML file a machine. docs/add-a-site.md tells how to write one.

    \b
    Example:
      exa site check mycluster
    """


@command.command(name="list")
@json_option
def list_sites(as_json: bool) -> None:
    """Every profile that a name would find, with the file it is in.

    \b
    Example:
      exa site list
    """
    rows = sites.listing()
    if as_json:
        emit({"schema": 1, "sites": rows})
        return
    width = max(len(row["site"]) for row in rows)
    for row in rows:
        click.echo(f"{row['site']:<{width}}  {row['verdict']:<8}  {row['title'] or row['path']}")


@command.command()
@click.argument("name", metavar="[NAME|PATH]", required=False, shell_complete=_complete.sites)
@json_option
def show(name: str | None, as_json: bool) -> None:
    """A profile as exa uses it: with all that it inherits. --json names the place of each key.

    \b
    Example:
      exa site show local --json
    """
    found = sites.whole(name)
    if as_json:
        emit(found)
        return
    import tomli_w

    click.echo(
        f"# {', inherits '.join(found['files'])}\n\n{tomli_w.dumps(found['profile'])}", nl=False
    )


@command.command()
@click.argument("name", metavar="[NAME|PATH]", required=False, shell_complete=_complete.sites)
@click.option("--live", is_flag=True, help="Compare it with the batch system that runs here.")
@json_option
def check(name: str | None, live: bool, as_json: bool) -> None:
    """Every fault of a profile, each with its file, line and key. Exits 3 when there is one.

    With --live its queues are compared with those of the running batch system: presence,
    limits, routes, QOS; and its nodes: how many, CPUs, GPUs. What is true no more is listed, and
    the exit code is 9; it is 5 when nobody answered.

    \b
    Example:
      exa site check ./mycluster.toml
      exa site check mycluster --live
    """
    found = sites.checked(name)
    if live and not found.error:
        _check_live(name, found, as_json)
        return
    if as_json:
        emit(found.to_json())
    if found.error:
        raise found.error
    if not as_json:
        click.echo(f"{found.site}: no fault")
        for note in found.notes:
            click.echo(f"  {note}")


@command.command()
@json_option
def detect(as_json: bool) -> None:
    """Name the site that this machine is of, and why: by host name, environment or queues.

    Exits 0 when one site fits, 6 when none does, 9 when several do. It changes nothing:
    --site and $EXA_SITE choose the site.

    \b
    Example:
      export EXA_SITE=$(exa site detect)
    """
    found = newsite.detect()
    if as_json:
        rows = [{"site": each.site, "why": each.why} for each in found.matches]
        seen = {"host": found.host, "schedulers": list(found.schedulers)}
        emit({"schema": 1, "matches": rows, "notes": list(found.notes), **seen})
    for note in found.notes:
        warn(note)
    if not found.matches:
        raise _of_no_site(found)
    if len(found.matches) > 1:
        for each in found.matches:
            say(f"{each.site}: {each.why}")
        names = ", ".join(each.site for each in found.matches)
        raise Findings(f"several profiles fit this machine: {names}", hint="choose with --site")
    (only,) = found.matches
    if not as_json:
        click.echo(only.site)
    say(f"{only.why}; use it with --site {only.site} or export EXA_SITE={only.site}")


def _of_no_site(found: newsite.Detected) -> NotFound:
    here = ", ".join(found.schedulers) or "none"
    hint = "exa site new NAME begins a profile of this machine"
    return NotFound(
        f"no profile fits this machine, {found.host}; batch systems with commands here: {here}",
        hint=hint if found.schedulers else f"{hint}; on one without a batch system it is local",
    )


@command.command()
@click.argument("name", metavar="NAME")
@click.option("--scheduler", metavar="KIND", help="Its batch system, where several are here.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="The file to write.")
def new(name: str, scheduler: str | None, out: Path | None) -> None:
    """Write a commented profile to begin with, from what is seen on this machine.

    Queues and limits come from the batch system; what only a person knows is to be filled in.
    By default it goes to ~/.config/exa/sites/NAME.toml, where `--site NAME` finds it.

    \b
    Example:
      exa site new mycluster && exa site check mycluster
    """
    path = newsite.new(name, scheduler, out)
    click.echo(str(path))
    say(f"exa site check {out or name} names what is still to be filled in")


def _check_live(name: str | None, found: sites.Checked, as_json: bool) -> None:
    compared = sites.compared(name)
    if as_json:
        drift = [asdict(each) for each in compared.drift]
        emit({**found.to_json(), "drift": drift, "live_notes": list(compared.notes)})
    else:
        for each in compared.drift:
            click.echo(f"{each.what}\n  at: {each.where}\n  hint: {each.hint}")
        for note in compared.notes:
            click.echo(f"  {note}")
    if compared.drift:
        points = "one point" if len(compared.drift) == 1 else f"{len(compared.drift)} points"
        raise Findings(f"{found.site} differs from the batch system in {points}")
    say(f"{found.site}: nothing that was compared differs")


@command.command()
def schema() -> None:
    """The JSON schema of a profile, for editors.

    \b
    Example:
      exa site schema > site.schema.json
    """
    from exa_cli.sites.schema import SiteProfile
    from exa_cli.spec.document import json_schema

    click.echo(to_json(json_schema(SiteProfile)), nl=False)
