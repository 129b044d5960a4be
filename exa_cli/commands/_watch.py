"""A live view of a run, for a terminal; plain lines where there is none."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from exa_cli.base.talk import say
from exa_cli.commands._common import LIVE, wait_for
from exa_cli.login import observe
from exa_cli.runs import metrics
from exa_cli.runs.rundir import RunDir

if TYPE_CHECKING:
    from rich.console import RenderableType

REFRESH_S = 1.0
_BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: list[float], width: int) -> str:
    """Values as a line of block characters, the mean of each of ``width`` equal spans. Pure."""
    if not values:
        return ""
    width = min(width, len(values))
    cuts = [len(values) * i // width for i in range(width + 1)]
    spans = [values[a:b] for a, b in itertools.pairwise(cuts)]
    means = [sum(span) / len(span) for span in spans]
    low, high = min(means), max(means)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((mean - low) * scale)] for mean in means)


def duration(seconds: float) -> str:
    """``3725`` → ``1:02:05``."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def remaining(answer: dict[str, Any], last: dict[str, Any]) -> str:
    """Time to the last step at the present speed, or nothing while that is unknown."""
    left = answer["steps_total"] - answer["step"]
    seconds = last.get("step_s")
    return f", about {duration(left * seconds)} to go" if seconds and left > 0 else ""


def panel(answer: dict[str, Any], records: list[dict[str, Any]]) -> RenderableType:
    """The live view: state, a bar over the steps, speed and the loss so far."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    losses = [r["loss"] for r in records if "loss" in r]
    last: dict[str, Any] = next((r for r in reversed(records) if "loss" in r), {})
    colour = {"running": "green", "done": "green", "failed": "red"}.get(answer["state"], "yellow")
    head = Text.assemble(
        (answer["state"], f"bold {colour}"),
        f"  step {answer['step']} of {answer['steps_total']}",
        remaining(answer, last) if answer["state"] == "running" else "",
    )
    rows: list[RenderableType] = [
        head,
        ProgressBar(total=answer["steps_total"], completed=answer["step"]),
    ]
    rows += [Text(line) for line in _lines(answer, last, losses)]
    return Panel(Group(*rows), title=answer["run"], title_align="left")


def _lines(answer: dict[str, Any], last: dict[str, Any], losses: list[float]) -> list[str]:
    best = answer["checkpoint"]
    saved = f"step {best['step']}, {best['verdict']}" if best else "none yet"
    lines = [f"checkpoint  {saved}"]
    if last:
        speed = f"{last['tokens_per_s']:,.0f} tokens/s" if last.get("tokens_per_s") else ""
        lines += [
            f"loss        {last['loss']:.4f}   {speed}",
            f"            {sparkline(losses, 60)}",
        ]
    for attempt in answer["attempts"]:
        cause = f", {attempt['cause']}" if attempt["cause"] else ""
        lines.append(f"attempt {attempt['attempt']}  {attempt['state']}{cause}")
    if answer["next"]:
        lines.append(f"next        {answer['next']['action']}: {answer['next']['reason']}")
    return lines


def _look(run: RunDir) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    answer = observe.to_json(observe.look([run])[0])
    return answer, metrics.read(run.metrics / "metrics.jsonl")


def watch_run(run: RunDir) -> None:
    """Show a run until its job has ended. Ctrl-C leaves the job alone."""
    if not sys.stdout.isatty():
        tell = plainly(run)
        while tell() in LIVE:
            time.sleep(REFRESH_S)
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(), refresh_per_second=4) as live:
        while True:
            answer, records = _look(run)
            live.update(panel(answer, records))
            if answer["state"] not in LIVE:
                return
            time.sleep(REFRESH_S)


def plainly(run: RunDir) -> Callable[..., str]:
    """A function that says a line when the state changed or a twentieth of the steps is done
    since the last one, and returns the state."""
    told: list[tuple[str, int]] = []

    def tell(_: str = "") -> str:
        answer, records = _look(run)
        state, step = str(answer["state"]), int(answer["step"])
        if not told or told[-1][0] != state or step >= told[-1][1] + _stride(answer):
            told.append((state, step))
            say(_plain(answer, records))
        return state

    return tell


def _stride(answer: dict[str, Any]) -> int:
    return max(1, int(answer["steps_total"]) // 20)


def _plain(answer: dict[str, Any], records: list[dict[str, Any]]) -> str:
    last: dict[str, Any] = next((r for r in reversed(records) if "loss" in r), {})
    text = f"{answer['run']}  {answer['state']}  step {answer['step']}/{answer['steps_total']}"
    if last:
        text += f"  loss {last['loss']:.4f}" + remaining(answer, last)
    return text


def follow_run(run: RunDir) -> None:
    """Show progress on stderr until the job ends; then as ``--wait``."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.live import Live

        with Live(console=Console(stderr=True), refresh_per_second=4) as live:
            wait_for(run, lambda _: live.update(panel(*_look(run))))
    else:
        wait_for(run, plainly(run))
