"""What `exa plan` prints is stable: scripts read it, people compare it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from exa_cli.plan import show
from exa_cli.plan.freeze import DataFacts, Machine, freeze
from exa_cli.plan.preflight import Check
from exa_cli.plan.sizes import sizes
from exa_cli.sites.choice import Job, choose, refusals
from exa_cli.sites.schema import read
from exa_cli.spec import runfile, toml

NEXT = {"by": "chain", "why": "jobs can wait for one another here"}
GOLDEN = Path(__file__).parent / "golden"

SITE = """
[site]
name = "hill"
title = "A machine on a hill"
[scheduler]
kind = "pbs"
[launcher]
kind = "own"
command = ["run", "{ranks}"]
[[queue]]
name = "debug"
debug = true
limit = [{ max_nodes = 2, walltime = "01:00:00" }]
[[queue]]
name = "prod"
max_jobs_per_user = 1
routes = [{ name = "small", min_nodes = 4, max_nodes = 64, walltime = "12:00:00" }]
[[queue]]
name = "long"
limit = [{ max_nodes = 16 }]
[[binding]]
name = "cores"
default = true
rank = [
    { cpus = "0-15", device = 1, numa = 0, nic = "hsn1" },
    { cpus = "16-31", device = 0, numa = 0, nic = "none" },
    { cpus = "32-47,96-111", device = 3, numa = 1 },
    { cpus = "48-63", device = "none", numa = 1 },
]
"""

CHECKS = (
    Check("account", "ok", "p1"),
    Check("walltime", "warning", "it would hardly train", "run.toml:3", "a longer walltime"),
    Check("data", "fault", "there is none\nat all", "/data"),
    Check("nodes", "not checked", "their health"),
)


def facts(nodes: int, *settings: str) -> dict[str, Any]:
    profile = read(toml.parse(SITE, "hill.toml"))
    text = f'[resources]\nnodes = {nodes}\nwalltime = "06:00:00"\n'
    doc = toml.override(toml.parse(text, "run.toml"), list(settings))
    plan = freeze(
        runfile.read(doc),
        Machine(1, 4, 64, True, profile.binding),
        DataFacts("/data", 512, "id"),
        "demo-0000",
    )
    job = Job(nodes, 6 * 3600)
    choice = choose(profile, job) if nodes <= 64 else None
    rejected = choice.rejected if choice else refusals(profile, job)
    return show.facts(
        profile, "demo", doc, plan, job, choice, rejected, CHECKS, NEXT if choice else None
    )


@pytest.mark.parametrize(("name", "nodes"), [("fits", 8), ("refused", 65)])
def test_the_text_is_the_reviewed_one(name: str, nodes: int) -> None:
    assert show.text(facts(nodes)) == (GOLDEN / f"plan-{name}.txt").read_text()


def test_only_verdicts_are_painted_and_nothing_moves() -> None:
    found = facts(8)
    seen: list[str] = []

    def paint(verdict: str, words: str) -> str:
        seen.append(verdict)
        return words.upper()

    painted = show.text(found, paint)
    assert seen == [check.verdict for check in CHECKS]
    assert painted.lower() == show.text(found).lower()


def test_what_could_not_be_planned_is_null_and_left_out_of_the_text() -> None:
    profile = read(toml.parse(SITE, "hill.toml"))
    found = show.facts(
        profile, "demo", toml.parse("", "run.toml"), None, Job(1, 60), None, (), CHECKS
    )
    assert [found[key] for key in ("layout", "model", "checkpoint", "queue")] == [None] * 4
    text = show.text(found)
    assert "layout" not in text and "weights" not in text and "pre-flight" in text
    json.dumps(found, allow_nan=False)


def test_every_value_shown_has_a_reason_or_a_place() -> None:
    why = {row["key"]: row["why"] for row in facts(8, "train.threads=2")["layout"]}
    assert why["parallel.nodes"] == "run.toml:2"
    assert why["train.threads"] == "--set train.threads"
    assert why["parallel.engine"] == "exa's default"
    assert "walltime" in why["policy.stop_before_s"]


def test_every_planned_value_is_shown() -> None:
    run = runfile.read(toml.parse("", "run.toml"))
    plan = freeze(run, Machine(1, 4, 64), DataFacts("/data", 512, "id"), "demo-0000")
    given_as = {".".join(place): key for key, place in show.GIVEN_AS.items()}
    shown = {f"{table}.{key}" for table, key in show.LAYOUT}
    planned = set(plan["why"])
    assert planned - shown - set(given_as) == set()
    assert {given_as[key] for key in planned & set(given_as)} <= shown


@pytest.mark.parametrize(("engine", "share"), [("fsdp2", 32), ("ddp", 1)])
def test_a_rank_holds_its_share_of_the_state_and_never_less(engine: str, share: int) -> None:
    run = runfile.read(toml.override(toml.parse("", "x"), [f"parallel.engine={engine}"]))
    plan = freeze(run, Machine(8, 4, 64), DataFacts("/data", 512, "id"), "demo-0000")
    weighed = sizes(plan)
    whole = 16 * weighed.parameters
    assert whole <= weighed.state * share < whole + share
    assert (weighed.checkpoint, weighed.files) == (12 * weighed.parameters, 32 + 3)
    assert weighed.all_bytes == 4 * weighed.checkpoint
