"""Options of the whole suite. In CI nothing may be skipped: what cannot run there is a failure.

Tests marked ``full`` run with ``--full`` only (`make full`): each takes minutes, and a quicker one
of the same kind runs always.
"""

import os
from pathlib import Path

import pytest

pytest_plugins = ["lab.plugin"]


def pytest_addoption(parser):
    parser.addoption(
        "--kills", type=int, default=1, help="random kills for each variant and victim"
    )
    parser.addoption("--full", action="store_true", help="run the tests marked full, too")


TOGETHER = {"_slurm": "slurm", "_slurm_accounting": "slurm", "lab": "slurm"}
"""Fixtures whose tests stay on one worker: a cluster costs seconds, and cores, to bring up."""

FOLDERS = {"e2e": "here", "faults": "here", "train": "ranks", "train_checkpoint": "ranks"}
"""Folders whose tests do: they time ranks of their own, or share data that takes long to make."""


def group_of(item):
    for fixture in item.fixturenames:
        if fixture in TOGETHER:
            return TOGETHER[fixture]
    folder = Path(item.path).parent.name
    return FOLDERS.get(folder, item.nodeid.partition("::")[0])


# First, for the worker's own hook writes the group into the test's id.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group_of(item)))
    if config.getoption("--full"):
        return
    left_out = [item for item in items if item.get_closest_marker("full")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if not item.get_closest_marker("full")]


def pytest_generate_tests(metafunc):
    if "kill_round" in metafunc.fixturenames:
        metafunc.parametrize("kill_round", range(metafunc.config.getoption("--kills")))


def pytest_terminal_summary(terminalreporter):
    skipped = terminalreporter.stats.get("skipped", [])
    if os.environ.get("CI") and skipped:
        terminalreporter.write_line(f"CI: {len(skipped)} skipped tests count as failed", red=True)


def pytest_sessionfinish(session, exitstatus):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter and os.environ.get("CI") and reporter.stats.get("skipped") and exitstatus == 0:
        session.exitstatus = 1
