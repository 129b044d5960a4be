from __future__ import annotations

import os

import pytest

from exa_cli.base.errors import Invalid, RunFailed
from exa_train.data.workers import available_cpus, ordered_map

_factor: list[int] = []


def _set_up(factor: int) -> None:
    _factor[:] = [factor]


def _times(value: int) -> int:
    """Bad values are even; killing ones are negative."""
    if value < 0:
        os._exit(9)
    if value % 2 == 0:
        raise Invalid(f"value {value}", where="here", hint="try another")
    return value * _factor[0]


def _run(values: list[int], workers: int) -> list[int]:
    return list(ordered_map(_times, values, workers=workers, setup=_set_up, arguments=(3,)))


@pytest.mark.parametrize("workers", [1, 3])
def test_the_first_fault_in_order_is_raised_whole(workers: int) -> None:
    with pytest.raises(Invalid) as caught:
        _run([1, 3, 6, 5, 2, *range(7, 99, 2)], workers)
    assert (caught.value.what, caught.value.where) == ("value 6", "here")
    assert caught.value.hint == "try another"


def test_a_worker_that_dies_is_an_error_and_not_a_hang() -> None:
    with pytest.raises(RunFailed, match="a worker process was killed"):
        _run([1, 3, -1, *range(7, 99, 2)], 2)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("count", [0, 1, 50])
def test_results_come_in_the_order_of_the_items(workers: int, count: int) -> None:
    values = list(range(1, 2 * count, 2))
    assert _run(values, workers) == [3 * value for value in values]


def test_cpus_are_those_this_process_may_use() -> None:
    assert available_cpus() == len(os.sched_getaffinity(0)) >= 1
