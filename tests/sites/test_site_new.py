"""A profile begun on a machine holds what was seen there, and says what is to be filled in."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exa_cli.base.errors import Findings, Invalid, NotFound
from exa_cli.login import newsite
from exa_cli.main import run
from exa_cli.schedulers.pbs.queues import queues
from exa_cli.schedulers.queues import LiveQueue
from exa_cli.schedulers.slurm.partitions import partitions
from exa_cli.sites.load import load_site
from exa_cli.sites.recognise import Match, recognise
from exa_cli.sites.schema import SiteProfile, fill_ins
from exa_cli.sites.starter import Seen, starter
from exa_cli.spec.toml import parse

RECORDED = Path(__file__).parents[1] / "schedulers/recordings"
READ = {
    "slurm": partitions((RECORDED / "slurm/partitions.txt").read_text()),
    "pbs": queues((RECORDED / "pbs/queues.txt").read_text()),
}
FILLED = {
    'A = "fill in"': "A = false",
    'account = "fill in"': "account = false",
    'ranks_per_node = "fill in"': "ranks_per_node = 4",
    'cpus = "fill in"': "cpus = 8",
    'gpus = "fill in"': "gpus = 0",
    'options = "fill in"': 'options = ["--mpi=pmix"]',
    'kind = "fill in"': 'kind = "pals"',
    'device = "fill in"': 'device = "cpu"',
    'backend = "fill in"': 'backend = "gloo"',
}


def seen(kind: str, **changes: object) -> Seen:
    said = {"name": "mine", "kind": kind, "day": "2026-11-26", "source": "x", "queues": READ[kind]}
    return Seen(**{**said, **changes})  # type: ignore[arg-type]


def filled(text: str) -> str:
    for word, value in FILLED.items():
        text = text.replace(word, value)
    return text


def profile(tmp_path: Path, text: str) -> SiteProfile:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return load_site(str(path), {"HOME": str(tmp_path)}).profile


@pytest.mark.parametrize("kind", ["slurm", "pbs"])
def test_once_it_is_filled_in_it_is_a_whole_profile(tmp_path: Path, kind: str) -> None:
    made = profile(tmp_path, filled(starter(seen(kind))))
    assert made.scheduler.kind == kind
    behind = {name for queue in READ[kind] for name in queue.routes}
    left = [q.name for q in READ[kind] if q.name not in behind and not q.closed]
    assert [q.name for q in made.queue] == left


def test_limits_and_routes_are_those_that_were_seen(tmp_path: Path) -> None:
    made = {queue.name: queue for queue in profile(tmp_path, filled(starter(seen("pbs")))).queue}
    (row,) = made["debug"].limit
    assert (row.max_nodes, row.walltime) == (2, "01:00:00")
    assert [(r.name, r.max_nodes) for r in made["prod"].routes] == [("small", 2), ("medium", 4)]
    slurm = profile(tmp_path, filled(starter(seen("slurm"))))
    assert slurm.node.gpus == 4 and slurm.queue[1].limit[0].max_nodes == 4


def test_without_an_answer_the_file_says_so_in_its_place() -> None:
    text = starter(seen("slurm", queues=None, fault="scontrol did not answer\n[evil]\nx = 1"))
    assert "Queues: not known (scontrol did not answer" in text
    assert "evil" not in parse(text, "x").values


@settings(deadline=None)
@given(st.text(min_size=1, max_size=20), st.text(max_size=20))
def test_no_name_or_line_of_a_command_breaks_out_of_its_place(name: str, words: str) -> None:
    open_one = LiveQueue(name=name, walltime_s=60)
    shut = LiveQueue(name=name, closed=words or "shut")
    text = starter(seen("slurm", queues=(open_one, shut), remarks=(words,)))
    values = parse(text, "x").values
    assert [queue["name"] for queue in values["queue"]] == [name]
    assert set(values) == {"inherits", "site", "queue", "directives", "node", "launcher", "torch"}
    assert fill_ins(values)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing but the programs that a test puts there."""
    for name in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    monkeypatch.delenv("EXA_SITES_PATH", raising=False)
    (tmp_path / "bin").mkdir()
    return tmp_path


def put(machine: Path, names: str, body: str) -> None:
    for name in names.split():
        path = machine / "bin" / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)


def pbs_here(machine: Path, body: str = "") -> None:
    answer = RECORDED / "pbs/queues.txt"
    put(machine, "qsub qstat qdel qsig qselect", body or f"exec /bin/cat {answer}")


def test_without_a_batch_system_nothing_is_written(machine: Path) -> None:
    assert run(["site", "new", "mine"], False) == Invalid.code
    assert not (machine / "home").exists()


@pytest.mark.parametrize("name", ["", "../x", "a b", "-x"])
def test_a_name_that_is_no_file_s_is_refused(machine: Path, name: str) -> None:
    pbs_here(machine)
    with pytest.raises(Invalid, match="no name of a site"):
        newsite.new(name, None, None)


def test_two_batch_systems_are_not_chosen_between(machine: Path) -> None:
    put(machine, "sbatch squeue scontrol scancel qsub qstat qdel qsig qselect", "exit 1")
    with pytest.raises(Invalid, match="both here"):
        newsite.new("mine", None, None)


def test_it_is_written_where_its_name_finds_it_and_never_twice(machine: Path, capsys) -> None:
    pbs_here(machine)
    assert run(["site", "new", "mine"], False) == 0
    path = Path(capsys.readouterr().out.strip())
    assert path == machine / "home/exa/sites/mine.toml"
    text = path.read_text()
    assert run(["site", "new", "mine"], False) == Invalid.code
    assert path.read_text() == text
    assert run(["site", "check", "mine"], False) == Invalid.code
    said = capsys.readouterr().err
    assert len(re.findall(r"is to be filled in", said)) == text.count('"fill in"') - 1
    path.write_text(filled(text))
    assert run(["site", "check", "mine"], False) == 0
    assert run(["site", "check", "mine", "--live"], False) == 0


def test_a_batch_system_that_is_silent_leaves_the_queues_open(machine: Path, capsys) -> None:
    pbs_here(machine, "echo 'cannot connect to server' >&2; exit 255")
    assert run(["site", "new", "mine"], False) == 0
    assert "Queues: not known" in Path(capsys.readouterr().out.strip()).read_text()


def test_the_machine_is_known_by_its_queues_again(machine: Path, capsys) -> None:
    pbs_here(machine)
    assert run(["site", "detect"], False) == NotFound.code
    run(["site", "new", "mine"], False)
    path = machine / "home/exa/sites/mine.toml"
    path.write_text(filled(path.read_text()))
    capsys.readouterr()
    assert run(["site", "detect"], False) == 0
    assert capsys.readouterr().out == "mine\n"
    (path.parent / "other.toml").write_text(path.read_text())
    assert run(["site", "detect"], False) == Findings.code


def sites(tmp_path: Path, **lines: str) -> dict[str, SiteProfile]:
    base = filled(starter(seen("pbs")))
    marked = {name: base.replace("# hosts = ", f"{line} # ") for name, line in lines.items()}
    return {name: profile(tmp_path, text) for name, text in marked.items()}


@pytest.mark.parametrize(
    ("host", "live", "found"),
    [
        ("login2.mine.org", [], ["mine"]),
        ("LOGIN2.mine.org", ["other"], ["mine"]),
        ("elsewhere", [], []),
        ("elsewhere", [queue.name for queue in READ["pbs"]], ["plain"]),  # mine names its hosts
        ("elsewhere", ["debug", "prod"], []),
    ],
)
def test_a_host_decides_and_else_all_the_queues(tmp_path, host, live, found) -> None:
    known = sites(tmp_path, mine='hosts = ["login?.mine.org"]', plain="")
    matches: tuple[Match, ...] = recognise(host, known, {"pbs": live})
    assert [each.site for each in matches] == found


def test_looking_takes_nothing_of_the_path_for_granted(machine: Path) -> None:
    assert newsite.usable_kinds() == []
    assert os.environ["PATH"] == f"{machine}/bin"
