"""Nodes and QOS of a profile against the running ones: never drift by a mere way of counting."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exa_cli.base.errors import Findings, Unreachable
from exa_cli.main import run
from exa_cli.schedulers.pbs import nodes as pbs
from exa_cli.schedulers.queues import LiveNode
from exa_cli.schedulers.slurm import nodes as slurm
from exa_cli.schedulers.slurm.partitions import partitions
from exa_cli.sites.drift import Compared, compare
from exa_cli.sites.load import find_site
from exa_cli.sites.schema import read

RECORDED = Path(__file__).parents[1] / "schedulers/recordings"
PROFILE = """
inherits = "slurm"
directives = {{ {directives} }}
node = {{ ranks_per_node = 1, {node} }}
launcher.options = ["--mpi=pmi2"]
torch = {{ device = "cpu", backend = "gloo" }}
[[queue]]
name = "debug"
limit = [{{ max_nodes = 2, walltime = "00:05:00" }}]
"""
# Nodes and GRES as in recordings: slurm/10; each node once a partition, as sinfo -N -l there.
SINFO = "".join(
    f"node0{number}|{name}|8|1|8|1|gpu:a100:4\n"
    for number in (1, 2, 3, 4)
    for name in ("debug", "prod", "preempt")
)


def profile(node: str, directives: str = "account = false") -> str:
    return PROFILE.format(node=node, directives=directives)


def held(tmp_path: Path, text: str, nodes: tuple[LiveNode, ...], live: str = "") -> Compared:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    doc, _ = find_site(str(path), {"HOME": str(tmp_path)})
    answer = live or (RECORDED / "slurm/partitions.txt").read_text()
    return compare(read(doc), doc, partitions(answer), nodes)


@given(st.text(alphabet=st.sampled_from("nodegpu:(),|=. \t\n\r\x85\u2028_av0123²rsc-")))
def test_nothing_that_is_printed_of_nodes_breaks_a_reader(text: str) -> None:
    for node in (*slurm.nodes(text), *pbs.nodes(text)):
        assert node.name and (node.cpus or 0) >= 0 and (node.gpus or 0) >= 0


@given(st.integers(0, 3000))
def test_an_answer_that_was_cut_off_makes_no_node_larger(length: int) -> None:
    told = pbs.nodes((RECORDED / "pbs/nodes.txt").read_text()[:length])
    assert all((node.cpus or 0) <= 64 and (node.gpus or 0) <= 4 for node in told)
    assert all((node.cores or 0) <= 8 for node in slurm.nodes(SINFO[:length]))


@pytest.mark.parametrize(
    ("gres", "count"),
    [
        ("", None),
        ("gpu:lots", None),
        ("(null)", 0),
        ("nvme:1", 0),
        ("mps:gpu:400", 0),
        ("gpu", None),
        ("gpu:a100", None),
        ("gpu:4", 4),
        ("gpu:a100:4(S:0-1)", 4),
        ("gpu:a100:4(S:0-1),nvme:1", 4),
        ("gpu:a100:2(S:0,2),gpu:v100:2,mps:8", 4),
    ],
)
def test_gpus_are_counted_where_gres_are_counts_of_them(gres: str, count: int | None) -> None:
    assert slurm.gpus(gres) == count


def test_a_node_counts_once_whatever_its_partitions() -> None:
    found = slurm.nodes(SINFO)
    assert [node.name for node in found] == ["node01", "node02", "node03", "node04"]
    assert found[0].queues == ("debug", "prod", "preempt")
    assert (found[0].cpus, found[0].cores, found[0].threads) == (8, 8, 1)


def test_a_line_that_is_no_node_is_left_out() -> None:
    assert slurm.nodes("sinfo: error: x\n|debug|1|1|1|1|(null)\n") == ()
    assert pbs.nodes("Connection refused\npbsnodes: cannot connect to server\n") == ()


def test_what_pbs_printed_of_nodes_is_read() -> None:
    found = pbs.nodes((RECORDED / "pbs/nodes.txt").read_text())
    assert len(found) == 4 and {(node.cpus, node.gpus) for node in found} == {(64, 4)}


def test_vnodes_of_a_host_are_one_node() -> None:
    text = "".join(
        f"n1[{part}]\n     resources_available.host = n1\n"
        f"     resources_available.ncpus = 32\n     comment = a long\n\t one\n"
        for part in (0, 1)
    )
    assert pbs.nodes(text) == (LiveNode(name="n1", cpus=64),)


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ("cpus = 8, gpus = 4, total = 4", None),
        ("cpus = 9, gpus = 4", "nodes have 8 CPUs; the profile lets a job ask for 9"),
        ("cpus = 8, gpus = 2", "nodes have 4 GPUs, not 2"),
        ("cpus = 8, gpus = 4, total = 5", "the batch system has 4 nodes, not 5"),
        ("cpus = 8, gpus = 4, count = 5", "has 4 nodes; a run that does not say gets 5"),
        ('cpus = 2, gpus = 4, threads_per_core = 2, reserved = "none"', "8 CPUs, not 2 or 4"),
        ('cpus = 4, gpus = 4, threads_per_core = 2, reserved = "none"', None),
        ('cpus = 3, gpus = 4, threads_per_core = 2, reserved = "0,4"', None),
        ('cpus = 7, gpus = 4, threads_per_core = 2, reserved = "0,8"', None),
        ("cpus = 6, gpus = 4", None),
    ],
)
def test_only_what_no_way_of_counting_explains_is_drift(tmp_path, node, said) -> None:
    drift = held(tmp_path, profile(node), slurm.nodes(SINFO)).drift
    assert len(drift) == (said is not None) and all(said in each.what for each in drift), drift
    assert all("mine.toml:4" in each.where and each.hint for each in drift)


def test_a_batch_system_that_counts_threads_is_asked_for_threads(tmp_path: Path) -> None:
    text = profile("cpus = 8, gpus = 4, threads_per_core = 2") + '[scheduler]\ncpu_is = "thread"\n'
    (drift,) = held(tmp_path, text, slurm.nodes(SINFO)).drift
    assert "ask for 16" in drift.what


def test_where_nodes_differ_the_profile_may_mean_any_of_them(tmp_path: Path) -> None:
    mixed = slurm.nodes(
        SINFO.replace("node04|debug|8|1|8|1|gpu:a100:4", "node04|debug|64|2|32|1|(null)")
    )
    nodes = (*mixed[:3], LiveNode(name="node04", cpus=64, gpus=0, queues=("debug",)))
    found = held(tmp_path, profile("cpus = 8, gpus = 4, total = 9"), nodes)
    assert found.drift == ()
    assert any("number of nodes, for the 4 there are differ" in note for note in found.notes)


def test_nodes_of_other_queues_are_no_part_of_the_profile(tmp_path: Path) -> None:
    nodes = (*slurm.nodes(SINFO), LiveNode(name="fat", cpus=256, gpus=0, queues=("fat",)))
    assert held(tmp_path, profile("cpus = 8, gpus = 4, total = 4"), nodes).drift == ()
    (only,) = [n for n in held(tmp_path, profile("cpus = 8, gpus = 4"), nodes[-1:]).notes
               if "none of which" in n]  # fmt: skip
    assert only.startswith("not compared")


def test_what_one_side_does_not_say_of_nodes_is_named(tmp_path: Path) -> None:
    found = held(
        tmp_path, profile('cpus = "unknown", gpus = 4'), (LiveNode(name="a"), LiveNode(name="b"))
    )
    assert found.drift == ()
    for words in (
        "CPUs of a node, which the profile does not say",
        "GPUs of a node, which the batch system does not say",
        "the number of nodes, which the profile does not say",
    ):
        assert f"not compared: {words}" in found.notes


def test_gpus_that_a_directive_asks_for_are_no_drift(tmp_path: Path) -> None:
    text = profile("cpus = 8, gpus = 0", 'account = false, gres = "gpu:4"')
    assert held(tmp_path, text, slurm.nodes(SINFO)).drift == ()
    text = profile("cpus = 8, gpus = 0", 'account = false, constraint = "gpu"')
    assert "4 GPUs, not 0" in held(tmp_path, text, slurm.nodes(SINFO)).drift[0].what


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("AllowQos=ALL", None),
        ("AllowQos=fast,slow", None),
        ("AllowQos=slow", "debug does not take the QOS fast: only slow"),
        ("DenyQos=fast", "debug does not take the QOS fast: it is denied there"),
    ],
)
def test_a_qos_that_its_partition_does_not_take_is_drift(tmp_path, answer, said) -> None:
    live = (RECORDED / "slurm/partitions.txt").read_text().replace("AllowQos=ALL", answer)
    text = profile("cpus = 8, gpus = 4") + 'qos = "fast"\n'
    found = held(tmp_path, text, slurm.nodes(SINFO), live)
    assert [each.what for each in found.drift] == ([said] if said else [])
    assert any("the QOS fast" in note for note in found.notes) == (answer == "AllowQos=ALL")


PROGRAM = "#!/bin/sh\ncat <<'EOF'\n{out}EOF\necho '{err}' >&2\nexit {status}\n"
DOWN = "slurm_load_partitions: Unable to contact slurm controller (connect failure)"


class Fakes:
    """Commands on a PATH of their own that print what they are told."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.profile = folder / "mine.toml"
        self.profile.write_text(profile("cpus = 8, gpus = 4, total = 4"))
        for name in ("sbatch", "squeue", "scancel", "qsub", "qselect", "qdel"):
            self.put(name)
        self.put("scontrol", (RECORDED / "slurm/partitions.txt").read_text())
        self.put("qstat", (RECORDED / "pbs/queues.txt").read_text())

    def put(self, name: str, out: str = "", err: str = "", status: int = 0) -> None:
        (self.bin / name).write_text(PROGRAM.format(out=out, err=err, status=status))
        (self.bin / name).chmod(0o755)

    def check(self) -> int:
        return run(["site", "check", str(self.profile), "--live", "--json"], False)


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fakes:
    made = Fakes(tmp_path)
    monkeypatch.setenv("PATH", f"{made.bin}:/usr/bin:/bin")
    return made


def test_a_controller_that_is_down_is_not_drift(fakes: Fakes) -> None:
    fakes.put("scontrol", err=DOWN, status=1)
    fakes.put("sinfo", SINFO)
    assert fakes.check() == Unreachable.code


@pytest.mark.parametrize("status", [0, 1])
def test_nodes_that_are_not_told_leave_queues_compared(fakes: Fakes, capsys, status) -> None:
    fakes.put("sinfo", err="Access/permission denied" if status else "", status=status)
    assert fakes.check() == 0
    (note, *_) = json.loads(capsys.readouterr().out)["live_notes"]
    assert note.startswith("not compared: what nodes have: ")


def test_nodes_that_sinfo_tells_are_compared(fakes: Fakes, capsys) -> None:
    fakes.put("sinfo", SINFO)
    assert fakes.check() == 0
    fakes.put("sinfo", SINFO.replace("|8|1|8|", "|4|1|4|"))
    assert fakes.check() == Findings.code
    assert "nodes have 4 CPUs" in capsys.readouterr().out


def test_nodes_that_pbsnodes_tells_are_compared(fakes: Fakes, capsys) -> None:
    fakes.put("pbsnodes", (RECORDED / "pbs/nodes.txt").read_text())
    text = profile("cpus = 32, gpus = 4, total = 4, threads_per_core = 2", "A = false")
    text = text.replace('"slurm"', '"pbs"').replace('launcher.options = ["--mpi=pmi2"]\n', "")
    fakes.profile.write_text(text.replace("00:05", "01:00") + '[launcher]\nkind = "pals"\n')
    assert fakes.check() == 0
    fakes.profile.write_text(fakes.profile.read_text().replace("total = 4", "total = 560"))
    assert fakes.check() == Findings.code
    (drift,) = json.loads(capsys.readouterr().out.split("\n}\n")[1] + "\n}")["drift"]
    assert drift["what"] == "the batch system has 4 nodes, not 560"


def test_nodes_that_nobody_told_of_are_no_drift(tmp_path: Path) -> None:
    assert held(tmp_path, profile("cpus = 8, gpus = 4"), ()).drift == ()
