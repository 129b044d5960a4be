"""A planned run as data, and as text for people. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from exa_cli.arith.report import short
from exa_cli.plan.preflight import Check
from exa_cli.plan.sizes import Sizes, sizes
from exa_cli.sites.binding import choose
from exa_cli.sites.choice import Choice, Job, Rejected
from exa_cli.sites.schema import SiteProfile
from exa_cli.spec import times
from exa_cli.spec.toml import TomlDoc

Paint = Callable[[str, str], str]
"""A verdict's name and a text → the text, coloured or not."""

GIVEN_AS = {
    "parallel.nodes": ("resources", "nodes"),
    "policy.stop_before_s": ("policy", "stop_before"),
}
"""Keys of plan.json that a run file gives under another name."""

LAYOUT = (
    ("parallel", "engine"),
    ("parallel", "nodes"),
    ("parallel", "ranks_per_node"),
    ("parallel", "world"),
    ("parallel", "binding"),
    ("train", "microbatch"),
    ("train", "accumulation"),
    ("train", "global_batch"),
    ("train", "precision"),
    ("train", "threads"),
    ("train", "warmup"),
    ("train", "validate_every"),
    ("checkpoint", "every"),
    ("checkpoint", "keep"),
    ("checkpoint", "mode"),
    ("policy", "stop_before_s"),
    ("policy", "bad_step"),
    ("policy", "compare_every"),
)
"""What is shown of plan.json, and in which order."""


def facts(
    profile: SiteProfile,
    run: str,
    doc: TomlDoc,
    plan: dict[str, Any] | None,
    job: Job,
    choice: Choice | None,
    rejected: Sequence[Rejected],
    checks: Sequence[Check],
    going_on: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Everything `exa plan` knows, ready for JSON.

    ``layout``, ``model`` and ``checkpoint`` are None when the run cannot be laid out, ``queue``
    when no queue takes it or the site has none. ``doc`` is the run file with its overrides,
    ``going_on`` who hands in the next attempt, and why (`exa_cli.plan.continuing`).
    """
    weighed = sizes(plan) if plan else None
    return {
        "schema": 1,
        "run": run,
        "site": {"name": profile.site.name, "title": profile.site.title},
        "scheduler": profile.scheduler.kind,
        "nodes": job.nodes,
        "walltime": times.text(job.walltime_s),
        "walltime_s": job.walltime_s,
        "queue": _queue(choice) if choice else None,
        "rejected": [asdict(row) for row in rejected],
        "next": dict(going_on) if going_on else None,
        "layout": _layout(plan, doc) if plan else None,
        "binding": _seats(profile, plan) if plan else None,
        "model": _model(plan, weighed) if plan and weighed else None,
        "checkpoint": _checkpoint(weighed) if weighed else None,
        "preflight": [asdict(check) for check in checks],
    }


def _queue(choice: Choice) -> dict[str, Any] | None:
    if choice.queue is None:
        return None
    return {
        "name": choice.queue.name,
        "routes_to": choice.route,
        "reason": choice.reason,
        "remarks": list(choice.remarks),
    }


def _layout(plan: dict[str, Any], doc: TomlDoc) -> list[dict[str, Any]]:
    """Rows of key, value and why: the plan's reason, or where the value was given."""
    values = plan if "program" in plan else _with_accumulation(plan)
    why = {
        "parallel.world": "nodes × ranks_per_node",
        "train.accumulation": "global_batch ÷ (microbatch × world)",
        **plan["why"],
    }
    rows = []
    for table, key in LAYOUT:
        if key not in values.get(table, {}):
            continue
        place = GIVEN_AS.get(f"{table}.{key}", (table, key))
        reason = why.get(f"{table}.{key}") or why.get(".".join(place))
        reason = reason or doc.origins.get(place) or "exa's default"
        rows.append({"key": f"{table}.{key}", "value": values[table][key], "why": reason})
    return rows


def _seats(profile: SiteProfile, plan: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Where each rank of a node runs; None when ranks are not bound."""
    name, ranks = plan["parallel"]["binding"], plan["parallel"]["ranks_per_node"]
    if name is None:
        return None
    seats = choose(profile.binding, ranks, name).seats
    keys = ("cpus", "device", "numa", "nic")
    return [
        {"local_rank": n, **{key: getattr(seat, key) for key in keys}}
        for n, seat in enumerate(seats)
    ]


def _with_accumulation(plan: dict[str, Any]) -> dict[str, Any]:
    train, world = plan["train"], plan["parallel"]["world"]
    accumulation = train["global_batch"] // (train["microbatch"] * world)
    return {**plan, "train": {**train, "accumulation": accumulation}}


def _model(plan: dict[str, Any], weighed: Sizes) -> dict[str, Any]:
    return {
        "parameters": weighed.parameters,
        "active": weighed.active,
        "state_bytes_per_rank": weighed.state,
        "sharded": plan["parallel"]["engine"] == "fsdp2",
    }


def _checkpoint(weighed: Sizes) -> dict[str, Any]:
    return {
        "bytes": weighed.checkpoint,
        "files": weighed.files,
        "at_most": weighed.copies,
        "bytes_at_most": weighed.all_bytes,
        "files_at_most": weighed.all_files,
    }


def text(found: dict[str, Any], paint: Paint = lambda verdict, words: words) -> str:
    """`facts` for people. ``paint`` colours the verdicts."""
    blocks = [
        _head(found),
        _layout_table(found["layout"] or []),
        _seat_table(found["binding"] or []),
        _weights(found),
        _checks(found["preflight"], paint),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _head(found: dict[str, Any]) -> list[str]:
    site, title = found["site"]["name"], found["site"]["title"]
    lines = [
        f"{'run':<12}{found['run']}",
        f"{'site':<12}{site}" + (f", {title}" if title else ""),
        f"{'job':<12}{_nodes(found['nodes'])} for {found['walltime']}",
    ]
    if queue := found["queue"]:
        lines.append(f"{'queue':<12}{queue['name']}: {queue['reason']}")
        lines += [f"{'':<12}{remark}" for remark in queue["remarks"]]
    rejected = found["rejected"]
    width = max((len(row["queue"]) for row in rejected), default=0) + 2
    for number, row in enumerate(rejected):
        label = "rejected" if number == 0 else ""
        lines.append(f"{label:<12}{row['queue']:<{width}}{row['reason']}")
    if after := found["next"]:
        lines.append(f"{'goes on':<12}{after['by']}: {after['why']}")
    return lines


def _nodes(number: int) -> str:
    return f"{number:,} node{'' if number == 1 else 's'}"


def _layout_table(rows: Iterable[dict[str, Any]]) -> list[str]:
    lines = [
        f"  {row['key']:<26}{'none' if row['value'] is None else row['value']!s:>8}   {row['why']}"
        for row in rows
    ]
    return ["layout", *lines] if lines else []


def _seat_table(rows: Iterable[dict[str, Any]]) -> list[str]:
    lines = [
        f"  local rank {row['local_rank']:<3} CPUs {row['cpus']:<16} device {row['device']!s:<8}"
        f" NUMA {row['numa']!s:<8} NIC {row['nic']}"
        for row in rows
    ]
    return ["binding", *lines] if lines else []


def _weights(found: dict[str, Any]) -> list[str]:
    model, saved = found["model"], found["checkpoint"]
    if not model:
        return []
    shared = "evenly sharded" if model["sharded"] else "whole on every rank"
    rows = (
        ("parameters", model["parameters"], f"{short(model['active'])} active per token"),
        ("state of a rank, bytes", model["state_bytes_per_rank"], shared),
        ("a checkpoint, bytes", saved["bytes"], f"{saved['files']:,} files"),
        (
            "all checkpoints, bytes",
            saved["bytes_at_most"],
            f"{saved['at_most']} at a time, {saved['files_at_most']:,} files",
        ),
    )
    lines = [f"  {label:<24}{n:>24,}   {short(n):>7}   {note}" for label, n, note in rows]
    return ["weights", *lines]


def _checks(rows: Iterable[dict[str, Any]], paint: Paint) -> list[str]:
    lines = ["pre-flight"]
    for row in rows:
        verdict = paint(row["verdict"], f"{row['verdict']:<13}")
        first, *rest = row["says"].splitlines()
        lines.append(f"  {verdict}{row['name']:<15}{first}")
        below = [
            *rest,
            *(f"{k}: {row[v]}" for k, v in (("at", "where"), ("hint", "hint")) if row[v]),
        ]
        lines += [f"{'':<30}{line}" for line in below]
    return lines
