"""The same function over many items, in several processes, results in order.

Processes are spawned, never forked: libraries with threads survive that. They die with the
process that started them, whatever kills it.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, get_context, parent_process
from typing import Any, TypeVar

from exa_cli.base.errors import RunFailed

Item = TypeVar("Item")
Result = TypeVar("Result")


def available_cpus() -> int:
    """The cores this process may use, which on a shared node is fewer than there are."""
    return len(os.sched_getaffinity(0))


def ordered_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
    setup: Callable[..., None],
    arguments: tuple[Any, ...] = (),
) -> Iterator[Result]:
    """``function`` of each item, in the items' order, at most a few items ahead.

    Args:
        workers: number of processes; with one, everything runs in this process.
        setup: called once in each process with ``arguments`` before any item.

    Raises:
        RunFailed: a worker process was killed.
        Whatever ``function`` raises, for the first item in order that does.
    """
    if workers == 1:
        setup(*arguments)
        yield from map(function, items)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), _begin, (setup, arguments)) as pool:
        try:
            yield from _in_order(pool, function, items, ahead=3 * workers)
        except BrokenProcessPool as error:
            raise RunFailed(
                "a worker process was killed, perhaps because memory ran out, or did not start",
                hint="finished parts are kept: run it again, with fewer --workers",
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _in_order(
    pool: ProcessPoolExecutor,
    function: Callable[[Item], Result],
    items: Iterable[Item],
    ahead: int,
) -> Iterator[Result]:
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _begin(setup: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """The first act of a worker. Ctrl-C is the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    setup(*arguments)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
