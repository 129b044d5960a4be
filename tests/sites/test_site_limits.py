"""A job that no queue takes is refused before it is submitted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from exa_cli.base.errors import Invalid, NotFound
from exa_cli.sites.limits import fitting, queue_for
from exa_cli.sites.load import load_site
from exa_cli.sites.schema import Limit, Queue, SiteProfile

HOUR = 3600


@pytest.fixture
def site() -> SiteProfile:
    debug = Queue(name="debug", limit=(Limit(min_nodes=1, max_nodes=2, walltime="01:00:00"),))
    prod = Queue(
        name="prod",
        limit=(
            Limit(min_nodes=10, max_nodes=24, walltime="03:00:00"),
            Limit(min_nodes=25, max_nodes=99, walltime="06:00:00"),
        ),
    )
    return replace(load_site("local").profile, queue=(debug, prod))


@pytest.mark.parametrize(
    ("nodes", "hours"), [(0, 1), (3, 1), (9, 1), (2, 2), (10, 4), (24, 6), (100, 1), (99, 7)]
)
def test_what_fits_no_row_is_refused_with_the_rows(
    site: SiteProfile, nodes: int, hours: int
) -> None:
    with pytest.raises(Invalid) as caught:
        queue_for(site, nodes, hours * HOUR)
    assert "debug, 1–2 nodes, 01:00:00; prod, 10–24 nodes, 03:00:00" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("nodes", "hours", "name"),
    [(1, 1, "debug"), (2, 1, "debug"), (10, 3, "prod"), (25, 6, "prod"), (99, 6, "prod")],
)
def test_each_row_holds_up_to_its_limits(
    site: SiteProfile, nodes: int, hours: int, name: str
) -> None:
    queue = queue_for(site, nodes, hours * HOUR)
    assert queue is not None
    assert queue.name == name


def test_a_queue_that_was_asked_for_is_not_replaced_by_another(site: SiteProfile) -> None:
    with pytest.raises(Invalid, match="the queue prod does not take 1 nodes"):
        queue_for(site, 1, HOUR, "prod")
    with pytest.raises(NotFound, match="no queue 'prud'") as caught:
        queue_for(site, 10, HOUR, "prud")
    assert caught.value.hint == "did you mean prod?"


def test_what_a_site_does_not_say_refuses_nothing(site: SiteProfile) -> None:
    unsure = replace(site, queue=(Queue(name="q", limit=(Limit(min_nodes=2),)),))
    assert fitting(unsure, 10_000, 1000 * HOUR) == list(unsure.queue)
    assert fitting(unsure, 1, HOUR) == []
    without = replace(site, queue=(Queue(name="q"),))
    assert fitting(without, 10_000, 1000 * HOUR) == list(without.queue)


def test_a_profile_without_queues_leaves_them_to_the_batch_system(site: SiteProfile) -> None:
    bare = replace(site, queue=())
    assert queue_for(bare, 5, HOUR) is None
    assert queue_for(bare, 5, HOUR, "prod") == Queue(name="prod")
