"""What RUN|DIR names for `exa ckpt`: a run's checkpoints, one of them, or a foreign directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exa_cli.base.errors import Damaged, ExaError, Findings, NotFound, Unreachable, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from exa_cli.checkpoint.select import Accepts
    from exa_cli.checkpoint.verdict import Damage, ForeignReport, Report


@dataclass(frozen=True)
class Target:
    """``run`` holds the folder ``checkpoints``; ``only`` is one checkpoint or a foreign one."""

    run: Path | None = None
    only: Path | None = None
    foreign: bool = False

    def reports(self, step: int | None) -> list[Report]:
        """The run's checkpoints by structure, the newest first, or the one that was named.

        Raises NotFound when a step is named that there is none of.
        """
        from exa_cli.checkpoint.verify import inspect, survey

        if self.only is not None:
            return [inspect(self.only)]
        assert self.run is not None
        root = self.run / "checkpoints"
        found = [report for report in survey(root) if step in (None, report.step)]
        if not found and step is not None:
            raise NotFound(f"there is no checkpoint of step {step}", where=str(root))
        return found

    def path(self, name: str) -> Path:
        if self.only is not None:
            return self.only
        assert self.run is not None
        return self.run / "checkpoints" / name

    def accepts(self) -> Accepts:
        """Whether a checkpoint counts, by the claims of its run; outside of a run all do."""
        if self.run is None:
            return lambda name, epoch: True
        return accepts(self.run)


def accepts(run: Path) -> Accepts:
    from exa_cli.runs.claims import counts, read_claims

    claims = read_claims(run)
    return lambda name, epoch: counts(claims, name, epoch)


def counted(report: Report, accepts: Accepts) -> bool:
    return report.epoch is not None and accepts(report.name, report.epoch)


def find_run(text: str) -> Path:
    """A run, or any directory that holds checkpoints."""
    from exa_cli.runs import find

    if text and find.is_there(Path(text) / "checkpoints"):
        return Path(text).absolute()
    return find.find_run(text)


def find(text: str) -> Target:
    """A checkpoint's directory, a run, or else any directory."""
    from exa_cli.checkpoint.names import parse_directory

    there = bool(text) and _is_dir(Path(text))
    path = Path(text).resolve() if there else Path(text)
    if there and parse_directory(path.name):
        return Target(run=_run_above(path), only=path)
    try:
        return Target(run=find_run(text))
    except NotFound:
        if not there:
            raise
        return Target(only=path, foreign=True)


def _run_above(checkpoint: Path) -> Path | None:
    """The run whose claims say whether a checkpoint counts."""
    run = checkpoint.parent.parent
    inside = checkpoint.parent.name == "checkpoints" and _is_dir(checkpoint.parent / "epochs")
    return run if inside else None


def _is_dir(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def step_of(target: Target, text: str | None) -> int | None:
    """STEP as a number; ``latest`` is the newest step there is."""
    if text is None:
        return None
    if target.only is not None:
        raise Usage("a directory has no steps", hint="STEP goes with a RUN")
    if text == "latest":
        steps = [report.step for report in target.reports(None)]
        if not steps:
            raise NotFound("there are no checkpoints", where=str(target.run))
        return max(steps)
    if not (text.isascii() and text.isdigit()):
        raise Usage(f"STEP is a number or `latest`, not {text!r}")
    return int(text)


def damaged(report: Report | ForeignReport) -> list[dict[str, str]]:
    return [{"file": damage.file, "reason": damage.reason} for damage in report.damaged]


def line(damage: Damage) -> str:
    from exa_cli.checkpoint.guarded import shown

    return f"  {shown(damage.file)}: {damage.reason}"


def each(names: Sequence[str], act: Callable[[str], Any]) -> Iterator[tuple[str, Any]]:
    """(name, what ``act`` made of it), or the error with which it refused; errors of the
    filesystem end it."""
    for name in names:
        try:
            yield name, act(name)
        except OSError as error:
            where = str(error.filename or name)
            raise Unreachable(error.strerror or str(error), where=where) from error
        except ExaError as error:
            if isinstance(error, Unreachable):
                raise
            yield name, error


def conclude(found: dict[str, str]) -> None:
    """Leave with the exit code of the worst of ``found`` (name → verdict)."""
    for verdict, error in (
        ("damaged", Damaged),
        ("repairable", Findings),
        ("incomplete", Findings),
    ):
        names = [name for name, given in found.items() if given == verdict]
        if names:
            raise error(f"{len(names)} of {len(found)} checkpoints {verdict}: {', '.join(names)}")
