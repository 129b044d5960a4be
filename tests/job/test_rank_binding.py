"""A rank takes its seat before it becomes the trainer, or says which CPUs it may not have."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from exa_cli.job import health, layout
from exa_cli.sites.machine import Seat

HERE = sorted(os.sched_getaffinity(0))


def in_child(me):
    """What `rank.bind` leaves in a process of its own: its CPUs and its environment."""
    code = (
        "import json, os, sys; from exa_cli.job.rank import bind\n"
        "try: bind(json.loads(sys.argv[1]))\n"
        "except ValueError as error: sys.exit(str(error))\n"
        "print(json.dumps([sorted(os.sched_getaffinity(0)), os.environ.get('MASK')]))"
    )
    argv = [sys.executable, "-c", code, json.dumps(me)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60)


def test_a_rank_gets_exactly_its_cpus_and_sees_its_device():
    done = in_child({"cpus": HERE[:1], "env": {"MASK": "3"}})
    assert json.loads(done.stdout) == [HERE[:1], "3"]


def test_a_rank_without_a_seat_stays_as_the_launcher_started_it():
    assert json.loads(in_child({"cpus": None, "env": {}}).stdout) == [HERE, None]


@pytest.mark.parametrize("cpus", [[1023], [HERE[0], 1023]])
def test_a_cpu_that_the_job_may_not_use_stops_the_rank_and_is_named(cpus):
    done = in_child({"cpus": cpus, "env": {}})
    assert done.returncode == 1
    assert "1023" in done.stderr


def test_the_probe_s_word_about_a_seat_is_a_failed_check():
    seen = {
        "rank": 0, "host": "n1", "told_node": None, "missing": [], "torch": None,
        "scratch_error": None, "run_dir_error": None, "scratch_free": None,
        "seat_error": "cannot be bound to CPUs 9",
    }  # fmt: skip
    found = health.verdict({"ranks": [seen], "sum": 1}, 1, "", 0)
    assert (found.check, found.what) == ("binding", "rank 0 on n1 cannot be bound to CPUs 9")


TABLE = [{"local_rank": 0, "cpus": None, "device": None, "env": {}}]


@pytest.mark.parametrize(
    ("seat", "select", "row"),
    [
        ({"cpus": "2-3", "device": 3}, "CUDA_VISIBLE_DEVICES",
         {"cpus": [2, 3], "device": 0, "env": {"CUDA_VISIBLE_DEVICES": "3"}}),
        ({"cpus": "2-3", "device": 3}, "none", {"cpus": [2, 3], "device": 3, "env": {}}),
        ({"cpus": "none", "device": "none"}, "X", {"cpus": None, "device": None, "env": {}}),
    ],
)  # fmt: skip
def test_a_device_is_shown_by_its_variable_or_taken_by_its_index(seat, select, row):
    assert layout.bound(TABLE, (Seat(**seat),), select) == [{"local_rank": 0, **row}]
    assert layout.bound(TABLE, (), select) == TABLE
