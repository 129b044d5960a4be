"""A profile is held against the running queues: what both say is compared, the rest is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fake_pbs import FakePbs
from hypothesis import given
from hypothesis import strategies as st

from exa_cli.base.errors import Findings, Unreachable
from exa_cli.main import run
from exa_cli.schedulers.pbs.queues import queues
from exa_cli.schedulers.queues import LiveQueue
from exa_cli.schedulers.slurm.partitions import partitions
from exa_cli.sites.drift import Compared, compare
from exa_cli.sites.load import find_site
from exa_cli.sites.schema import read

RECORDED = Path(__file__).parents[1] / "schedulers/recordings"
SLURM = """
inherits = "slurm"
directives.account = false
node = { ranks_per_node = 1, cpus = 8, gpus = 4 }
launcher.options = ["--mpi=pmi2"]
torch = { device = "cpu", backend = "gloo" }
"""
PBS = """
inherits = "pbs"
directives.A = false
node = { ranks_per_node = 1, cpus = 8, gpus = 0 }
launcher = { kind = "pals" }
torch = { device = "cpu", backend = "gloo" }
"""
DEBUG = '[[queue]]\nname = "debug"\nlimit = [{ max_nodes = 2, walltime = "00:05:00" }]\n'
ROUTES = """
[[queue]]
name = "prod"
[[queue.routes]]
name = "small"
max_nodes = 2
walltime = "03:00:00"
[[queue.routes]]
name = "medium"
min_nodes = 3
max_nodes = 4
walltime = "06:00:00"
"""


def held(tmp_path: Path, text: str, live: tuple[LiveQueue, ...]) -> Compared:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    doc, _ = find_site(str(path), {"HOME": str(tmp_path)})
    return compare(read(doc), doc, live)


def recorded_slurm() -> tuple[LiveQueue, ...]:
    return partitions((RECORDED / "slurm/partitions.txt").read_text())


def recorded_pbs() -> tuple[LiveQueue, ...]:
    return queues((RECORDED / "pbs/queues.txt").read_text())


def test_what_slurm_printed_is_read() -> None:
    debug, prod, _ = recorded_slurm()
    assert debug == LiveQueue(name="debug", max_nodes=2, walltime_s=300, nodes=4)
    assert (prod.max_nodes, prod.walltime_s) == (None, 86_400)


def test_what_pbs_printed_is_read() -> None:
    found = {queue.name: queue for queue in recorded_pbs()}
    assert found["prod"].routes == ("small", "medium")
    wanted = LiveQueue(name="medium", min_nodes=3, max_nodes=4, walltime_s=21_600)
    assert found["medium"] == wanted


@given(st.text(alphabet=st.sampled_from("ParQueu:tionName=Max TS\n\t.0123é_resources-")))
def test_nothing_that_is_printed_breaks_a_reader(text: str) -> None:
    for live in (*partitions(text), *queues(text)):
        assert live.name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (DEBUG, None),
        (DEBUG.replace('"debug"', '"debag"'), "no queue 'debag'"),
        (DEBUG.replace("max_nodes = 2", "max_nodes = 3"), "nodes of a job in debug is 2, not 3"),
        (DEBUG.replace("max_nodes = 2", "max_nodes = 1"), "nodes of a job in debug is 2, not 1"),
        (DEBUG.replace("00:05", "01:00"), "longest walltime in debug is 00:05:00, not 01:00:00"),
        (DEBUG.replace("00:05", "00:04") + 'qos = "q"\n', None),
        ('[[queue]]\nname = "prod"\nlimit = [{ max_nodes = 8 }]\n', "prod has 4 nodes"),
    ],
)  # fmt: skip
def test_what_slurm_says_otherwise_is_drift(tmp_path: Path, text: str, said: str | None) -> None:
    found = held(tmp_path, SLURM + text, recorded_slurm())
    drift = [each.what for each in found.drift]
    assert len(drift) == (said is not None) and all(str(said) in each for each in drift), drift
    assert all("mine.toml" in each.where for each in found.drift)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ROUTES, []),
        (ROUTES.replace('"medium"', '"large"'), ["to medium too", "no jobs to large"]),
        (ROUTES.replace("06:00:00", "12:00:00"), ["longest walltime in medium is 06:00:00"]),
        (ROUTES.replace("min_nodes = 3", "min_nodes = 2"), ["fewest nodes of a job in medium"]),
    ],
)  # fmt: skip
def test_what_stands_behind_a_routing_queue_is_compared(tmp_path, text, said) -> None:
    drift = [each.what for each in held(tmp_path, PBS + text, recorded_pbs()).drift]
    assert len(drift) == len(said)
    assert all(any(words in each for each in drift) for words in said), drift


@pytest.mark.parametrize("word", ["enabled", "started"])
def test_a_closed_queue_is_told_in_the_systems_words(tmp_path: Path, word: str) -> None:
    text = (RECORDED / "pbs/queues.txt").read_text().replace(f"{word} = True", f"{word} = False")
    (drift,) = held(tmp_path, PBS + '[[queue]]\nname = "debug"\n', queues(text)).drift
    assert f"{word} = False" in drift.what


def test_what_one_side_leaves_open_is_named_and_is_no_drift(tmp_path: Path) -> None:
    found = held(tmp_path, SLURM + '[[queue]]\nname = "prod"\n', recorded_slurm())
    assert found.drift == ()
    notes = " ".join(found.notes)
    assert "not compared: the longest walltime in prod, which the profile does not say" in notes
    assert "the queue debug is not in the profile" in notes


QSTAT = """#!/bin/sh
case "$*" in *-Q*) cat {answer}; exit {status};; esac
exit 1
"""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePbs:
    made = FakePbs(tmp_path / "pbs").install()
    monkeypatch.setenv("PATH", f"{made.bin}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "mine.toml").write_text(PBS + ROUTES)
    return made


def answering(server: FakePbs, answer: str, status: int = 0) -> None:
    program = server.bin / "qstat"
    program.write_text(QSTAT.format(answer=answer, status=status))


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        ("queues.txt", 0, 0),
        ("/dev/null", 0, Unreachable.code),
        ("queues.txt", 255, Unreachable.code),
    ],
)
def test_no_answer_is_never_drift(server, tmp_path, answer, status, code) -> None:
    path = RECORDED / "pbs" / answer
    answering(server, str(path), status)
    assert run(["site", "check", str(tmp_path / "mine.toml"), "--live"], False) == code


def test_drift_makes_the_exit_code_9(server, tmp_path, capsys) -> None:
    answering(server, str(RECORDED / "pbs/queues.txt"))
    (tmp_path / "mine.toml").write_text(PBS + ROUTES.replace("06:00:00", "12:00:00"))
    code = run(["site", "check", str(tmp_path / "mine.toml"), "--live", "--json"], False)
    assert code == Findings.code
    assert '"drift"' in capsys.readouterr().out


def test_a_server_that_hangs_is_not_answered_within_the_time_limit(server, tmp_path) -> None:
    answering(server, "/dev/null; exec sleep 60")
    (tmp_path / "mine.toml").write_text(PBS + "scheduler.timeout_s = 1\n" + ROUTES)
    assert run(["site", "check", str(tmp_path / "mine.toml"), "--live"], False) == Unreachable.code


@pytest.mark.parametrize("site", ["local", "ilabt"])
def test_a_batch_system_without_queues_has_nothing_to_differ_from(
    tmp_path, monkeypatch, capsys, site
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(["site", "check", site, "--live"], False) == 0
    said = capsys.readouterr()
    assert "has no queues and nodes to ask for" in said.out
    assert run(["site", "check", site, "--live", "--json"], False) == 0
    assert '"drift": []' in capsys.readouterr().out
