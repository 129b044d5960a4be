"""A run's story, out of its journal and metrics: pure, but for the reading at the edges."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from exa_cli.base import clock
from exa_cli.base.files import read_json
from exa_cli.login import observe
from exa_cli.login.observe import View
from exa_cli.runs import metrics
from exa_cli.runs.journal import Event
from exa_cli.runs.state import Attempt, place


def story(view: View) -> dict[str, Any]:
    """``exa report RUN --json``: the status, each life, totals and the losses."""
    records = metrics.read(view.run.metrics / "metrics.jsonl")
    lived = lives(view.events, {a.attempt: a for a in view.state.attempts})
    return {
        **observe.to_json(view),
        "directory": str(view.run.path),
        "lives": lived,
        "tokens": _tokens(view),
        "tokens_per_s": _median([r["tokens_per_s"] for r in records if r.get("tokens_per_s")]),
        "mfu_measured": _median([r["mfu_measured"] for r in records if r.get("mfu_measured")]),
        "loss": _last(records, "ce"),
        "held_out": _last(records, "held_out"),
        "baselines": baselines(view.run.metrics / "baselines.json"),
        "wall_s": round(sum(life["seconds"] or 0.0 for life in lived), 3),
    }


def _tokens(view: View) -> int | None:
    """Tokens of the steps that were done; None for a program of the user's own."""
    if "program" in view.plan:
        return None
    train = view.plan["train"]
    tokens: int = view.state.step * train["global_batch"] * train["seq_len"]
    return tokens


def baselines(path: Path) -> dict[str, float] | None:
    """Unigram and bigram losses in nats a token, as rank 0 computed them; None before."""
    try:
        raw = read_json(path)["nats"]
        return {name: float(raw[name]) for name in ("unigram", "bigram")}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _median(values: list[float]) -> float | None:
    """The middle value: rates have outliers on both sides."""
    return sorted(values)[len(values) // 2] if values else None


def _last(records: list[dict[str, Any]], key: str) -> float | None:
    return next((r[key] for r in reversed(records) if r.get(key) is not None), None)


def lives(events: list[Event], attempts: Mapping[str, Attempt]) -> list[dict[str, Any]]:
    """Each life: what it loaded, what it did, how it ended and what came then. Pure.

    Of a life that left no word its attempt tells the end, if it was the last one.
    """
    places = sorted({where for e in events if (where := place(e))})
    told = [_life(attempt, life, events) for attempt, life in places]
    for life in {one["attempt"]: one for one in told}.values():
        attempt = attempts.get(life["attempt"])
        if life["cause"] is None and attempt and attempt.lives:
            then = attempt.then["action"] if attempt.then else None
            life |= {"cause": attempt.cause, "evidence": list(attempt.evidence), "then": then}
    return told


def _life(attempt: str, life: int, events: list[Event]) -> dict[str, Any]:
    mine = [e for e in events if place(e) == (attempt, life)]
    began, ended = _first(mine, "life"), _first(mine, "ended")
    committed = [e.fields["step"] for e in mine if e.kind == "committed"]
    loaded = _first(mine, "loaded")
    last_sign = max(e.t for e in mine)
    return {
        "attempt": attempt,
        "life": life,
        "started": clock.iso(began.t) if began else None,
        "seconds": round((ended.t if ended else last_sign) - began.t, 3) if began else None,
        "loaded_step": loaded.fields["step"] if loaded else None,
        "committed_steps": committed,
        "cause": ended.fields["cause"] if ended else None,
        "evidence": ended.fields["evidence"] if ended else [],
        "then": (ended.fields.get("then") or {}).get("action") if ended else None,
    }


def _first(events: list[Event], kind: str) -> Event | None:
    return next((e for e in events if e.kind == kind), None)


def text(told: dict[str, Any], curve: str) -> str:
    """The story for people. ``curve`` is the loss as a line of block characters."""
    lines = [
        f"run          {told['run']}",
        f"state        {told['state']}, step {told['step']} of {told['steps_total']}",
        f"tokens       {_number(told['tokens'], ',')} in {told['wall_s']:.1f} s of job time",
        f"speed        {_number(told['tokens_per_s'], ',.0f')} tokens/s, the median step; "
        f"{_number(told['mfu_measured'], '.1%')} of the measured matmul peak",
        f"goodput      {_number(told['goodput'], '.0%')}",
        "",
        f"{'attempt':<9}{'life':<6}{'from step':<11}{'committed':<11}{'seconds':<9}ended by",
        *(_life_row(life) for life in told["lives"]),
        "",
        *_losses(told),
        f"loss curve   {curve}",
    ]
    return "\n".join(lines)


def _number(value: float | None, form: str) -> str:
    return "unknown" if value is None else format(value, form)


def _life_row(life: dict[str, Any]) -> str:
    committed = max(life["committed_steps"], default=None)
    cells = [
        f"{life['attempt']:<9}",
        f"{life['life']:<6}",
        f"{'–' if life['loaded_step'] is None else life['loaded_step']:<11}",
        f"{'–' if committed is None else committed:<11}",
        f"{'–' if life['seconds'] is None else format(life['seconds'], '.1f'):<9}",
        life["cause"] or "no word (killed, or still running)",
        f", then {life['then']}" if life["then"] not in (None, "nothing") else "",
    ]
    return "".join(cells)


def _losses(told: dict[str, Any]) -> list[str]:
    """Held-out loss beside what counting words reaches, in nats a token."""
    lines = [f"training     {_number(told['loss'], '.4f')} nats a token at the last step"]
    held_out, base = told["held_out"], told["baselines"]
    lines.append(f"held-out     {_number(held_out, '.4f')} nats a token")
    if base and held_out is not None:
        gain = 1 - held_out / base["bigram"]
        relation = f"{abs(gain):.1%} {'below' if gain >= 0 else 'above'} the bigram"
        lines.append(
            f"baselines    unigram {base['unigram']:.4f}, bigram {base['bigram']:.4f}: {relation}"
        )
    return lines
