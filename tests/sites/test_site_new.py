"""A profile begun on a machine holds what was seen there, and says what is to be filled in."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exa_cli.base import resources
from exa_cli.base.errors import Findings, Invalid, NotFound
from exa_cli.login import newsite
from exa_cli.login.sites import checked as sites_checked
from exa_cli.main import run
from exa_cli.schedulers.pbs.nodes import nodes as pbs_nodes
from exa_cli.schedulers.pbs.queues import queues
from exa_cli.schedulers.queues import LiveNode, LiveQueue
from exa_cli.schedulers.slurm.nodes import nodes as slurm_nodes
from exa_cli.schedulers.slurm.partitions import partitions
from exa_cli.sites.load import load_site
from exa_cli.sites.nodelines import Looked
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
    said = {
        "name": "mine",
        "kind": kind,
        "parent": resources.read("sites", f"{kind}.toml"),
        "day": "2026-11-26",
        "source": "x",
        "queues": READ[kind],
    }
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
    assert slurm.queue[1].limit[0].max_nodes == 4


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

    (only,) = values["queue"]
    assert only["limit"] == [{"walltime": "00:01:00"}]


COUNTS = st.none() | st.integers(0, 10**7)
FEW = st.none() | st.integers(1, 10**7)
WORDS = st.text(max_size=20)
NODES = st.lists(
    st.builds(
        LiveNode, name=st.text(min_size=1, max_size=9), cpus=COUNTS, cores=FEW, threads=FEW,
        gpus=COUNTS, words=WORDS,
    ),
    max_size=12,
).map(tuple)  # fmt: skip
QUEUES = st.lists(
    st.builds(
        LiveQueue, name=st.text(min_size=1, max_size=20).filter(lambda name: name != "fill in"),
        closed=WORDS, min_nodes=COUNTS, max_nodes=COUNTS, walltime_s=COUNTS, nodes=COUNTS,
        routes=st.lists(st.text(min_size=1, max_size=9), max_size=2).map(tuple),
    ),
    max_size=4, unique_by=lambda queue: queue.name,
).map(tuple)  # fmt: skip


@settings(deadline=None)
@given(st.sampled_from(["slurm", "pbs"]), QUEUES, NODES, WORDS, st.lists(WORDS).map(tuple))
def test_whatever_was_seen_the_profile_is_whole_once_it_is_filled_in(
    tmp_path_factory,
    kind: str,
    live: tuple[LiveQueue, ...],
    found: tuple[LiveNode, ...],
    words: str,
    folders,
) -> None:
    looked = Looked(found, f"`{words}`", words)
    made = starter(
        seen(kind, queues=live, nodes=looked, fault=words, scratch=folders, source=words)
    )
    path = tmp_path_factory.mktemp("made") / "mine.toml"
    path.write_text(filled(made), encoding="utf-8")
    assert sites_checked(str(path), {"HOME": str(path.parent)}).error is None
    node = parse(made, "x").values["node"]
    if found:
        assert node["source"] == looked.source
        assert node["total"] == len(found)
        for key, told in (
            ("gpus", {each.gpus for each in found}),
            ("cpus", {each.cores for each in found}),
        ):
            only = told.pop() if len(told) == 1 else None
            assert node[key] == ("fill in" if only is None else only)


NODES_SLURM = "".join(
    f"node0{i}|{queue}|8|1|8|1|gpu:a100:4\n" for queue in ("debug", "prod") for i in (1, 2, 3, 4)
)
"""As recorded (slurm/10-information), in our format: each node once for each partition."""


def test_pbs_nodes_are_those_that_were_recorded() -> None:
    found = pbs_nodes((RECORDED / "pbs/nodes.txt").read_text())
    text = starter(seen("pbs", nodes=Looked(found, "`pbsnodes -a`")))
    node = parse(text, "x").values["node"]
    assert (node["gpus"], node["total"], node["as_of"]) == (4, 4, "2026-11-26")
    assert node["cpus"] == "fill in", "ncpus may be hardware threads"
    assert "# 4 nodes: CPUs: 64, GPUs: 4" in text


def test_what_differs_between_nodes_is_left_to_a_person() -> None:
    lines = "a|x|128|2|32|2|gpu:4\nb|x|128|2|32|2|(null)\nc|x|128|2|32|2|(null)\n"
    made = starter(seen("slurm", nodes=Looked(slurm_nodes(lines), "x")))
    node = parse(made, "x").values["node"]
    assert (node["cpus"], node["gpus"], node["total"]) == (64, "fill in", 3)


@pytest.mark.parametrize("kind", ["slurm", "pbs"])
def test_what_is_to_be_filled_in_keeps_the_words_of_the_starter(kind: str) -> None:
    parent = resources.read("sites", f"{kind}.toml")
    asked = [line for line in parent.splitlines() if re.match(r'\w+ = "fill in"', line)]
    assert asked and set(asked) <= set(starter(seen(kind)).splitlines())


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
    put(machine, "pbsnodes", body or f"exec /bin/cat {RECORDED / 'pbs/nodes.txt'}")


def test_without_a_batch_system_nothing_is_written(machine: Path) -> None:
    assert run(["site", "new", "mine"], False) == Invalid.code
    assert not (machine / "home").exists()


@pytest.mark.parametrize("name", ["", "../x", "a b", "-x", "a.toml", "a\n", "ü"])
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
    text = Path(capsys.readouterr().out.strip()).read_text()
    assert "# Queues: not known (" in text
    assert "# Nodes: not known (pbsnodes: cannot connect to server); `pbsnodes -a -v` on" in text


def test_each_command_that_hangs_is_given_up_and_noted_in_its_place(
    machine: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr(newsite, "TIMEOUT_S", 0.3)
    put(machine, "sbatch squeue scontrol scancel sinfo srun lscpu", "exec /bin/sleep 60")
    begin = time.monotonic()
    assert run(["site", "new", "mine"], False) == 0
    assert time.monotonic() - begin < 30
    text = Path(capsys.readouterr().out.strip()).read_text()
    assert "# Queues: not known (scontrol did not answer within 0.3 s" in text
    assert "# Nodes: not known (sinfo did not answer within 0.3 s)" in text
    assert "# srun did not answer within 0.3 s" in text
    assert "# lscpu did not answer within 0.3 s" in text


def test_what_slurm_says_of_mpi_and_nodes_is_written_and_a_failing_tool_is_named(
    machine: Path, capsys
) -> None:
    put(machine, "sbatch squeue scancel", "exit 1")
    put(machine, "scontrol", f"exec /bin/cat {RECORDED / 'slurm/partitions.txt'}")
    (machine / "nodes").write_text(NODES_SLURM)
    put(machine, "sinfo", f"exec /bin/cat {machine}/nodes")
    put(machine, "srun", "printf 'MPI plugin types are...\\n\\tpmix\\n\\tpmi2\\n' >&2")
    put(machine, "nvidia-smi", "echo 'no driver' >&2; exit 9")
    assert run(["site", "new", "mine"], False) == 0
    text = Path(capsys.readouterr().out.strip()).read_text()
    for line in ("# srun: pmix", "# srun: pmi2", "# nvidia-smi ended with status 9: no"):
        assert line in text
    values = parse(text, "x").values
    assert (values["node"]["cpus"], values["node"]["gpus"], values["node"]["total"]) == (8, 4, 4)
    assert [queue["name"] for queue in values["queue"]] == ["debug", "prod", "preempt"]


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
    marked = {name: base.replace("# hosts = ", f"{line}\n# ") for name, line in lines.items()}
    return {name: profile(tmp_path, text) for name, text in marked.items()}


ALL = [queue.name for queue in READ["pbs"]]


@pytest.mark.parametrize(
    ("host", "environ", "live", "found"),
    [
        ("elsewhere", {}, [], []),
        ("elsewhere", {}, ["debug", "prod"], []),
        ("elsewhere", {"CLUSTER": "b", "PART": "gpu"}, [], []),  # not all of its variables
        ("elsewhere", {"CLUSTER": "a"}, [], []),
        ("elsewhere", {}, ALL, ["plain"]),  # mine and env name other machines
        ("login2.mine.org", {}, [], ["mine"]),
        ("LOGIN2.mine.org", {}, ["other"], ["mine"]),
        ("elsewhere", {"CLUSTER": "a", "PART": "gpu"}, ALL, ["env"]),
        ("login2.mine.org", {"CLUSTER": "a", "PART": "gpu"}, [], ["mine", "env"]),
    ],
)
def test_a_host_or_the_variables_decide_and_else_all_the_queues(
    tmp_path, host, environ, live, found
) -> None:
    env = 'environment = { CLUSTER = "a", PART = "gpu" }'
    known = sites(tmp_path, mine='hosts = ["login?.mine.org"]', env=env, plain="")
    matches: tuple[Match, ...] = recognise(host, environ, known, {"pbs": live})
    assert [each.site for each in matches] == found


def test_a_match_says_all_that_speaks_for_it_and_what_does_not(tmp_path: Path) -> None:
    lines = 'hosts = ["login?.mine.org"]\nenvironment = { CLUSTER = "a" }'
    known = sites(tmp_path, mine=lines)
    (both,) = recognise("login1.mine.org", {"CLUSTER": "a"}, known, {})
    assert both.why == (
        "the host login1.mine.org is one of login?.mine.org; the environment has CLUSTER=a"
    )
    (queues_only,) = recognise("elsewhere", {}, known, {"pbs": ALL})
    assert queues_only.why.endswith("; but its profile names other machines than elsewhere")


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("x3001c0s1b0n0.hsn.cm.polaris.alcf.anl.gov", ["polaris"]),
        ("x4519c3s2b0n0.hsn.cm.aurora.alcf.anl.gov", ["aurora"]),
        ("x3001c0s1b0n0", []),
    ],
)
def test_a_shipped_profile_knows_the_hosts_that_its_source_names(host: str, found) -> None:
    names = ("aurora", "frontier", "lumi", "perlmutter", "polaris", "local", "ilabt")
    shipped = {name: load_site(name, {}).profile for name in names}
    assert [each.site for each in recognise(host, {}, shipped, {})] == found


def test_without_a_site_it_says_what_is_here_and_how_to_begin(machine: Path, capsys) -> None:
    pbs_here(machine)
    assert run(["site", "detect"], False) == NotFound.code
    out, err = capsys.readouterr()
    assert out == "" and "commands here: pbs" in err and "exa site new NAME" in err
    assert run(["site", "detect", "--json"], False) == NotFound.code
    told = json.loads(capsys.readouterr().out)
    assert told["matches"] == [] and told["schedulers"] == ["pbs"]


def test_of_several_sites_none_is_chosen_and_each_is_listed(machine: Path, capsys) -> None:
    folder = machine / "home/exa/sites"
    folder.mkdir(parents=True)
    for name, line in {"one": 'hosts = ["*"]', "two": 'environment = { HERE = "yes" }'}.items():
        text = filled(starter(seen("pbs", name=name))).replace("# hosts = ", f"{line}\n# ")
        (folder / f"{name}.toml").write_text(text)
    os.environ["HERE"] = "yes"
    try:
        assert run(["site", "detect"], False) == Findings.code
    finally:
        del os.environ["HERE"]
    out, err = capsys.readouterr()
    assert out == "" and "one: the host" in err and "two: the environment has HERE=yes" in err


def test_an_empty_path_has_no_batch_system(machine: Path) -> None:
    assert newsite.usable_kinds() == []


def test_a_batch_system_without_queues_begins_no_profile(machine: Path, capsys) -> None:
    assert run(["site", "new", "mine", "--scheduler", "gpulab"], False) == Invalid.code
    assert run(["site", "new", "mine", "--scheduler", "slrum"], False) == NotFound.code
    assert "did you mean slurm" in capsys.readouterr().err


def test_a_faulty_profile_is_named_and_hides_no_other(machine: Path, capsys) -> None:
    folder = machine / "home/exa/sites"
    folder.mkdir(parents=True)
    (folder / "torn.toml").write_text("[site\n")
    assert run(["site", "detect"], False) == NotFound.code
    assert "the profile torn is faulty and left out" in capsys.readouterr().err
