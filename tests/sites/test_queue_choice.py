"""A job that no queue takes is refused with the nearest that run; others go to the best queue."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from queue_tables import SITES, of, site

from exa_cli.base.errors import Invalid, NotFound
from exa_cli.sites.batch import Limit, Queue, Route
from exa_cli.sites.choice import Job, choose, near, queue_for, refusals
from exa_cli.sites.limits import admits, ladder, longest
from exa_cli.sites.load import load_site
from exa_cli.sites.schema import SiteProfile
from exa_cli.spec.declare import UNKNOWN

HOUR = 3600
TABLES = {name: site(name) for name in SITES}


def hint(name: str, nodes: int, hours: float, asked: str | None = None) -> str:
    with pytest.raises(Invalid) as caught:
        choose(TABLES[name], Job(nodes, int(hours * HOUR)), asked)
    return str(caught.value.hint)


# What is refused, and what is said to be near


@pytest.mark.parametrize("nodes", [17, 100, 255])
def test_aurora_has_an_hour_or_256_nodes_for_mid_sized_jobs(nodes: int) -> None:
    said = hint("aurora", nodes, 12)
    assert "17–255 nodes: debug-scaling, 1 h; or 256 nodes in prod, 12 h" in said
    assert "16 nodes in capacity, 168 h" in said


def test_both_directions_skip_sizes_whose_limit_is_too_short() -> None:
    said = hint("polaris", 30, 10)
    assert said == (
        "nearest that can run: 10 nodes in preemptable, 72 h; "
        "or 25–99 nodes: prod, 6 h; or 100 nodes in prod, 24 h"
    )


def test_more_nodes_than_there_are_names_the_most_that_may_run() -> None:
    assert hint("polaris", 561, 1) == "nearest that can run: 496 nodes in prod, 24 h"


def test_too_many_nodes_for_too_long_names_both_neighbours_in_size_and_in_time() -> None:
    said = hint("aurora", 20_000, 100)
    assert "16 nodes in capacity, 168 h" in said and "10,624 nodes in prod, 24 h" in said


def test_longer_than_any_queue_allows_names_the_longest_at_that_size() -> None:
    assert "1–16 nodes: capacity, 168 h" in hint("aurora", 4, 200)


def test_a_queue_that_was_asked_for_is_not_replaced_by_another() -> None:
    said = hint("polaris", 2, 1, "prod")
    assert "10 nodes in prod, 3 h" in said
    assert "as it is: debug, for debugging" in said and "as it is: capacity" in said
    with pytest.raises(Invalid, match="the queue prod does not take 2 nodes for 1 h"):
        choose(TABLES["polaris"], Job(2, HOUR), "prod")


def test_an_execution_queue_cannot_be_asked_for() -> None:
    for name in ("small", "backfill-large"):
        with pytest.raises(Invalid, match="reach it through prod only") as caught:
            choose(TABLES["polaris"], Job(10, HOUR), name)
        assert caught.value.hint == "ask for the queue prod"


def test_an_unknown_queue_names_the_nearest() -> None:
    with pytest.raises(NotFound, match="no queue 'prud'") as caught:
        choose(TABLES["polaris"], Job(10, HOUR), "prud")
    assert caught.value.hint == "did you mean prod?"


def test_a_queue_by_request_is_never_chosen_unasked_but_is_mentioned() -> None:
    assert "as it is: visualization, by request" in hint("aurora", 20, 4)
    found = choose(TABLES["aurora"], Job(20, 4 * HOUR), "visualization")
    assert found.queue and found.queue.name == "visualization"
    assert "it is by request" in found.remarks


def test_a_site_with_nothing_but_queues_by_request_uses_them() -> None:
    only = of("x", '[[queue]]\nname = "a"\nby_request = true\n')
    assert choose(only, Job(1, HOUR)).reason == "the only queue that takes this job"


def test_a_qos_is_held_to_the_limits_of_its_partition_too() -> None:
    assert hint("frontier", 9473, 1, "debug") == "nearest that can run: 9,472 nodes in debug, 2 h"
    narrow = of(
        "x",
        '[[queue]]\nname = "part"\nlimit = [{max_nodes = 8, walltime = "01:00:00"}]\n'
        '[[queue]]\nname = "qos"\nwithin = "part"\nlimit = [{walltime = "48:00:00"}]\n',
    )
    assert longest(narrow, narrow.queue[1], 8) == HOUR
    assert longest(narrow, narrow.queue[1], 9) == 0


@pytest.mark.parametrize(
    ("fragment", "said"),
    [
        ('[[queue]]\nname = "a"\nwithin = "b"\n', "a lies within 'b': there is no such queue"),
        ('[[queue]]\nname = "a"\nwithin = "a"\n', "which lies within another"),
        (
            '[[queue]]\nname = "a"\nroutes = [{name = "r", min_nodes = 3, max_nodes = 2}]\n',
            "2 nodes at most, 3 at least",
        ),
    ],
)
def test_a_profile_that_contradicts_itself_is_refused(fragment: str, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        of("x", fragment)


# What is unknown


def test_what_a_site_does_not_say_refuses_nothing_and_is_said() -> None:
    unsure = of("x", '[[queue]]\nname = "q"\nlimit = [{min_nodes = 2}]\n')
    found = choose(unsure, Job(100_000, 10_000 * HOUR))
    assert found.queue and "its longest walltime is unknown" in found.remarks
    with pytest.raises(Invalid) as caught:
        choose(unsure, Job(1, HOUR))
    assert caught.value.hint == "nearest that can run: 2 nodes in q, unknown time"
    assert choose(of("x", '[[queue]]\nname = "q"\n'), Job(9, HOUR)).queue


def test_a_profile_without_queues_leaves_them_to_the_batch_system() -> None:
    bare = of("x", "")
    assert queue_for(bare, 5, HOUR) is None
    assert queue_for(bare, 5, HOUR, "prod") == Queue(name="prod")
    assert "limits are unknown" in choose(bare, Job(5, HOUR), "prod").remarks[0]
    with pytest.raises(Invalid, match="x has 4 nodes, not 5"):
        choose(of("x", "[node]\ntotal = 4\n"), Job(5, HOUR))


# What fits


@pytest.mark.parametrize(
    ("name", "nodes", "hours", "queue", "route"),
    [
        ("polaris", 1, 1, "capacity", None),  # never debug while an ordinary queue fits
        ("polaris", 5, 1, "debug-scaling", None),  # nothing ordinary: the shorter limit
        ("polaris", 5, 2, "preemptable", None),  # alone
        ("polaris", 10, 3, "prod", "small"),
        ("polaris", 25, 6, "prod", "medium"),
        ("polaris", 100, 24, "prod", "large"),
        ("aurora", 255, 1, "debug-scaling", None),
        ("aurora", 254 + 2, 1, "prod", "small"),  # two spares reach prod
        ("aurora", 1024, 12, "prod", "small"),
        ("aurora", 1024 + 8, 12, "prod", "medium"),  # spares count
        ("frontier", 64, 2, "batch", None),  # the shorter limit
        ("frontier", 64, 3, "extended", None),
        ("frontier", 184, 12, "batch", None),
        ("lumi", 2, 3, "standard-g", None),  # whole nodes
        ("lumi", 4, 72, "small-g", None),
        ("lumi", 1024, 48, "standard-g", None),
    ],
)
def test_the_best_queue(name: str, nodes: int, hours: int, queue: str, route: str | None) -> None:
    found = choose(TABLES[name], Job(nodes, hours * HOUR))
    assert found.queue and (found.queue.name, found.route) == (queue, route)
    assert route is None or route in found.reason


def test_every_other_queue_is_rejected_with_its_reason() -> None:
    found = choose(TABLES["polaris"], Job(10, HOUR))
    assert {row.queue: row.reason for row in found.rejected} == {
        "debug": "takes 1–2 nodes",
        "debug-scaling": "for debugging",
        "preemptable": "preemptable",
        "capacity": "takes 1–4 nodes",
        "demand": "by request",
    }
    lumi = {r.queue: r.reason for r in choose(TABLES["lumi"], Job(2, HOUR)).rejected}
    assert lumi["small-g"] == "shares its nodes"
    frontier = {r.queue: r.reason for r in choose(TABLES["frontier"], Job(64, HOUR)).rejected}
    assert frontier["extended"] == "takes longer jobs too (24 h)"


def test_where_none_takes_the_job_each_says_why() -> None:
    found = refusals(TABLES["aurora"], Job(20, 4 * HOUR))
    assert {row.queue: row.reason for row in found} == {
        "debug": "takes 1–2 nodes",
        "debug-scaling": "20 nodes may run 1 h",
        "prod": "takes 256–10,624 nodes",
        "capacity": "takes 1–16 nodes",
        "visualization": "by request",
    }
    asked = refusals(TABLES["polaris"], Job(2, HOUR), "prod")
    assert [row.reason for row in asked if row.queue == "debug"] == [
        "takes it, but another was asked for"
    ]


def test_a_queue_for_tests_is_used_when_named_with_what_that_means() -> None:
    found = choose(TABLES["aurora"], Job(2, HOUR), "debug")
    assert found.reason == "it was asked for"
    assert found.remarks == ("it is for debugging", "it takes 1 job of a user at a time")


# The tables "what a job can get", row by row: longest walltime in hours by queue

CAN_GET = {
    "polaris": [
        (1, 2, {"capacity": 168, "preemptable": 72, "debug": 1, "debug-scaling": 1}),
        (3, 4, {"capacity": 168, "preemptable": 72, "debug-scaling": 1}),
        (5, 9, {"preemptable": 72, "debug-scaling": 1}),
        (10, 10, {"preemptable": 72, "prod": 3, "debug-scaling": 1}),
        (11, 24, {"prod": 3}),
        (25, 99, {"prod": 6}),
        (100, 496, {"prod": 24}),
    ],
    "aurora": [
        (1, 1, {"capacity": 168, "debug": 1}),
        (2, 2, {"capacity": 168, "debug": 1, "debug-scaling": 1}),
        (3, 16, {"capacity": 168, "debug-scaling": 1}),
        (17, 255, {"debug-scaling": 1}),
        (256, 256, {"prod": 12, "debug-scaling": 1}),
        (257, 1024, {"prod": 12}),
        (1025, 1999, {"prod": 18}),
        (2000, 10624, {"prod": 24}),
    ],
    "frontier": [
        (1, 64, {"batch": 2, "extended": 24, "debug": 2}),
        (65, 91, {"batch": 2, "debug": 2}),
        (92, 183, {"batch": 6, "debug": 2}),
        (184, 9472, {"batch": 12, "debug": 2}),
    ],
    "lumi": [
        (1, 4, {"standard-g": 48, "small-g": 72, "dev-g": 3}),
        (5, 32, {"standard-g": 48, "dev-g": 3}),
        (33, 1024, {"standard-g": 48}),
    ],
}
ROWS = [(name, *row) for name, rows in CAN_GET.items() for row in rows]


@pytest.mark.parametrize(("name", "first", "last", "hours"), ROWS)
def test_what_a_job_can_get(name: str, first: int, last: int, hours: dict[str, int]) -> None:
    free = [queue for queue in TABLES[name].queue if not queue.by_request]
    for nodes in (first, last):
        got = {q.name: longest(TABLES[name], q, nodes) / HOUR for q in free}
        assert {queue: h for queue, h in got.items() if h} == hours


def test_the_ladder_is_the_table_of_the_longest() -> None:
    aurora = TABLES["aurora"]
    free = [queue for queue in aurora.queue if not queue.by_request]
    steps = [(s.first, s.last, s.queue, s.walltime_s / HOUR) for s in ladder(aurora, free)]
    assert steps == [
        (1, 16, "capacity", 168),
        (17, 255, "debug-scaling", 1),
        (256, 1024, "prod", 12),
        (1025, 1999, "prod", 18),
        (2000, 10624, "prod", 24),
    ]


# Whatever the table says


def rows(cls: type[Any], **more: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Up to three rows of limits."""
    hours = st.integers(1, 48).map(lambda hours: f"{hours}:00:00")
    row = st.builds(
        lambda low, extra, **rest: cls(
            min_nodes=low, max_nodes=UNKNOWN if extra is None else low + extra, **rest
        ),
        st.integers(1, 40),
        st.none() | st.integers(0, 20),
        walltime=st.just(UNKNOWN) | hours,
        **more,
    )
    return st.lists(row, max_size=3).map(tuple)


QUEUE = st.builds(
    Queue,
    name=st.just(""),
    limit=rows(Limit),
    routes=st.just(()) | rows(Route, name=st.sampled_from(["r", "s"])),
    within=st.none() | st.just("q0"),
    debug=st.booleans(),
    preemptable=st.booleans(),
    by_request=st.booleans(),
    whole_node=st.booleans() | st.just(UNKNOWN),
)


def profile_of(queues: list[Queue], total: int | str) -> SiteProfile:
    named = [replace(queue, name=f"q{number}") for number, queue in enumerate(queues)]
    named[0] = replace(named[0], within=None)
    bare = TABLES["lumi"]
    return replace(bare, queue=tuple(named), node=replace(bare.node, total=total))


def profiles() -> st.SearchStrategy[SiteProfile]:
    queues = st.lists(QUEUE, min_size=1, max_size=4)
    return st.builds(profile_of, queues, st.just(UNKNOWN) | st.integers(1, 60))


def admits_by_hand(profile: SiteProfile, name: str, nodes: int, seconds: float) -> bool:
    """The rule said again without the code under test: a row on every axis takes the job."""
    queue = next(q for q in profile.queue if q.name == name)
    limits = [queue.limit, queue.routes]
    if queue.within:
        around = next(q for q in profile.queue if q.name == queue.within)
        limits += [around.limit, around.routes]
    total = profile.node.total
    return (total == UNKNOWN or nodes <= total) and all(
        any(
            row.min_nodes <= nodes
            and (row.max_nodes == UNKNOWN or nodes <= row.max_nodes)
            and (row.walltime == UNKNOWN or seconds <= int(row.walltime.split(":")[0]) * HOUR)
            for row in rows
        )
        for rows in limits
        if rows
    )


@settings(deadline=None)
@given(profile=profiles(), nodes=st.integers(1, 70), hours=st.integers(1, 60))
def test_the_chosen_queue_admits_the_job_and_a_refusal_means_that_none_does(
    profile: SiteProfile, nodes: int, hours: int
) -> None:
    free = [q for q in profile.queue if not q.by_request] or list(profile.queue)
    fits = [q.name for q in free if admits_by_hand(profile, q.name, nodes, hours * HOUR)]
    try:
        found = choose(profile, Job(nodes, hours * HOUR))
    except Invalid:
        assert not fits
        return
    assert found.queue and found.queue.name in fits
    assert (found.route is not None) == bool(found.queue.routes)
    assert sorted([found.queue.name, *(row.queue for row in found.rejected)]) == sorted(
        queue.name for queue in profile.queue
    )
    if found.queue.debug or found.queue.preemptable:
        plain = [q.name for q in free if not (q.debug or q.preemptable)]
        assert not set(fits) & set(plain)


@settings(deadline=None)
@given(profile=profiles(), nodes=st.integers(1, 70), hours=st.integers(1, 60))
def test_everything_said_to_be_near_can_run(profile: SiteProfile, nodes: int, hours: int) -> None:
    job = Job(nodes, hours * HOUR)
    queues = list(profile.queue)
    spots = near(profile, job, queues)
    for spot in spots:
        seconds = 10**9 if spot.walltime_s == math.inf else spot.walltime_s
        assert admits_by_hand(profile, spot.queue, spot.nodes, seconds)
        assert spot.queue in spot.words
    sizes = range(1, 80)
    anything = any(admits_by_hand(profile, q.name, n, 1) for q in queues for n in sizes)
    assert bool(spots) == anything


@settings(deadline=None)
@given(profile=profiles(), nodes=st.integers(1, 70), hours=st.integers(1, 60))
def test_no_nearer_size_runs_as_long_as_was_asked(
    profile: SiteProfile, nodes: int, hours: int
) -> None:
    job = Job(nodes, hours * HOUR)
    queues = list(profile.queue)
    if any(admits(profile, q, nodes, job.walltime_s) for q in queues):
        return
    spots = [spot for spot in near(profile, job, queues) if spot.walltime_s >= job.walltime_s]
    fewer = max((spot.nodes for spot in spots if spot.nodes < nodes), default=0)
    more = min((spot.nodes for spot in spots if spot.nodes > nodes), default=100)
    for between in range(fewer + 1, more):
        assert not any(admits_by_hand(profile, q.name, between, job.walltime_s) for q in queues)


def test_the_local_site_takes_what_it_has() -> None:
    local = load_site("local", {}).profile
    assert queue_for(local, 16, HOUR) is not None
    with pytest.raises(Invalid, match="no queue of local takes 17 nodes for 1 h"):
        queue_for(local, 17, HOUR)
