"""Agents: real processes on this machine, which plays a cluster of one node."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from exa_cli.base import proc
from exa_cli.base.errors import Invalid, Unreachable
from exa_cli.base.files import write_json
from exa_cli.job import node, nodes, posts, sweep
from exa_cli.job.agent import Agent
from exa_cli.job.node import Post
from exa_cli.job.nodes import Agents, Here, lost_nodes
from exa_cli.job.posts import Supervisor
from exa_cli.staging.copy import Item, checksum

HOST = socket.gethostname()
SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.fixture
def post(tmp_path):
    """The post of this machine: data to stage, and a rank's log and heartbeat."""
    source = tmp_path / "prepared"
    source.mkdir()
    (source / "shard").write_bytes(b"tokens")
    items = (Item("shard", 6, checksum(source / "shard")),)
    base = tmp_path / "node"
    for part in ("run/journal", "run/life/ranks", "run/checkpoints/epochs"):
        (tmp_path / part).mkdir(parents=True)
    scratch = base / HOST / "runs" / "run" / "001-2"
    return Post(HOST, tmp_path / "run", base, scratch, (0,), source, base / "data", items)


def run_rank(post, step=7):
    """What a rank leaves on its node."""
    write = {"ranks/000000.log": "words", "heartbeat/000000.json": json.dumps({"step": step})}
    for name, text in write.items():
        path = post.scratch / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def agents(post):
    """The supervisor's side, with agents that a plain process starts."""
    life = post.run_dir / "life"
    env = {**os.environ, "EXA_RUN_DIR": str(post.run_dir)}

    def start(path):
        argv = [sys.executable, "-m", "exa_cli.job.agent", str(path)]
        with open(life / "agents.log", "ab") as log:
            return subprocess.Popen(argv, env=env, stdout=log, stderr=log, cwd=post.run_dir)

    made = Agents([post], life, start)
    yield made
    if made.launcher:
        made.launcher.kill()
        made.launcher.wait()


def leftover(post, argv=SLEEPER):
    """A process of the run whose parent is gone, as after a crash, or is another node's daemon."""
    shell = ["sh", "-c", '"$@" >/dev/null 2>&1 & echo $!', "sh", *argv]
    env = {**os.environ, "EXA_RUN_DIR": str(post.run_dir)}
    told = subprocess.run(shell, env=env, capture_output=True, text=True, check=True).stdout
    return proc.identify(int(told))


def test_a_life_through_an_agent_sweeps_stages_tells_and_leaves_nothing(post, agents):
    old = leftover(post)
    own = subprocess.Popen(SLEEPER, env={**os.environ, "EXA_RUN_DIR": str(post.run_dir)})
    (post.scratch.parent / "001-1" / "ranks").mkdir(parents=True)
    try:
        assert agents.sweep().processes == 1
        assert not proc.alive(old)
        assert own.poll() is None, "what the supervisor started is not of the past"
        assert not (post.scratch.parent / "001-1").exists()
        ((name, staged),) = agents.stage()
        assert (name, staged.copied, staged.bytes) == (HOST, True, 6)
        assert (post.target / "shard").read_bytes() == b"tokens"
    finally:
        own.kill()
        own.wait()
    run_rank(post)
    farewell = agents.tidy([0])
    assert (farewell.step, farewell.lost) == (7, ())
    assert (post.run_dir / "life/ranks/000000.log").read_text() == "words"
    assert not post.scratch.exists()
    assert agents.launcher.returncode == 0


def test_shared_memory_of_a_killed_rank_is_removed_by_its_agent(post, agents):
    segment = Path(f"/dev/shm/exa-agents-{os.getpid()}")
    segment.write_bytes(b"\0" * 4096)
    code = (
        "import mmap, sys, time\n"
        "f = open(sys.argv[1], 'r+b'); m = mmap.mmap(f.fileno(), 4096); time.sleep(600)"
    )
    try:
        agents.sweep()
        agents.stage()
        rank = leftover(post, [sys.executable, "-c", code, str(segment)])
        give_up = time.monotonic() + 30
        while str(segment) not in sweep.recorded(post.segments):
            assert time.monotonic() < give_up
            time.sleep(0.05)
        proc.send(rank, signal.SIGKILL)
        assert agents.tidy([]).swept.segments == 1
        assert not segment.exists()
    finally:
        segment.unlink(missing_ok=True)


def test_here_does_the_same_without_an_agent(post):
    here = Here([post], post.run_dir / "life")
    old = leftover(post)
    assert here.sweep().processes == 1
    assert not proc.alive(old)
    ((name, staged),) = here.stage()
    assert (name, staged.copied) == (HOST, True)
    run_rank(post)
    here.look()
    assert here.tidy([0]).step == 7
    assert (post.run_dir / "life/ranks/000000.log").read_text() == "words"
    assert not post.scratch.exists()


def test_a_notice_of_the_batch_system_is_passed_on_and_ends_no_agent(agents, monkeypatch):
    monkeypatch.setattr(nodes, "_READ_S", 0.0)
    agents.sweep()
    agents.launcher.send_signal(signal.SIGTERM)
    give_up = time.monotonic() + 20
    while agents.look().notice is None:
        assert time.monotonic() < give_up
        time.sleep(0.05)
    assert agents.look().notice == "SIGTERM"
    assert agents.tidy([]).lost == ()


def test_a_node_that_cannot_work_says_so_with_its_name(post, agents):
    post.base.write_text("a file in the way")
    with pytest.raises(Invalid, match=f"{HOST}: a file is where"):
        agents.sweep()


def test_damaged_data_is_named_by_the_node_that_found_it(post, agents):
    (post.source / "shard").write_bytes(b"broken")
    agents.sweep()
    with pytest.raises(Invalid, match=f"{HOST}: .* damaged"):
        agents.stage()


def test_the_errno_of_a_nodes_fault_arrives():
    fault = {"what": "cannot stage", "where": "/x", "hint": None, "errno": 28}
    failure = nodes._failure("n3", fault)
    assert failure.__cause__.errno == 28
    assert "n3: cannot stage" in str(failure)


def test_agents_that_do_not_start_are_told_in_the_launchers_words(post):
    life = post.run_dir / "life"

    def start(_):
        (life / "agents.log").write_text("srun: error: no such step\n")
        return subprocess.Popen(["false"])

    with pytest.raises(Unreachable, match=f"{HOST}: srun: error: no such step"):
        Agents([post], life, start).sweep()


def test_an_agent_on_a_machine_outside_the_allocation_refuses(post, tmp_path):
    other = Post("elsewhere", *list(vars(post).values())[1:])
    path = posts.write_posts(tmp_path / "run/life", [other], Supervisor(None, proc.myself()))
    argv = [sys.executable, "-m", "exa_cli.job.agent", str(path)]
    env = {k: v for k, v in os.environ.items() if k != "SLURMD_NODENAME"}
    done = subprocess.run(argv, env=env, capture_output=True, text=True)
    assert done.returncode == 1 and "none of the nodes elsewhere" in done.stderr


def test_a_killed_agent_is_lost_and_its_nodes_logs_stay_there(post, agents):
    agents.sweep()
    agents.stage()
    run_rank(post)
    agents.launcher.kill()
    agents.launcher.wait()
    left = agents.tidy([0])
    assert left.lost == (), "the supervisor is on that node: it is there"
    assert left.untidy == (f"{HOST}: its agent gave no answer; logs of its ranks stay there",)
    assert (post.scratch / "ranks/000000.log").exists()


def test_silence_is_measured_since_the_last_new_sign():
    since = {"n1": 0.0, "n2": 50.0, "n3": 0.0}
    assert nodes.silent(since, nodes.SILENT_S - 0.1) == ()
    assert nodes.silent(since, nodes.SILENT_S, gone=["n3"]) == ("n1",)


def test_a_sign_that_does_not_count_on_is_no_new_one(post):
    life = post.run_dir / "life"
    (life / "nodes").mkdir()
    ear = nodes.Ear(life, [HOST])
    path = posts.sign_file(life, HOST)
    posts.put_sign(path, posts.Sign(3, "swept", HOST, 1, ranks={0: {"step": 2}}))
    ear.listen([HOST])
    heard = ear.since[HOST]
    posts.put_sign(path, posts.Sign(3, "ready", HOST, 1))
    ear.listen([HOST])
    assert (ear.since[HOST], ear.signs[HOST].phase) == (heard, "swept")
    assert ear.signs[HOST].ranks == {0: {"step": 2}}
    path.write_text("{torn")
    ear.listen([HOST])
    assert ear.signs[HOST].phase == "swept"


def test_posts_arrive_as_they_were_written(post, tmp_path):
    leader = Supervisor(HOST, proc.myself())
    path = posts.write_posts(tmp_path / "run/life", [post], leader)
    assert posts.read_posts(path) == ((post,), leader)


def fenced_agent(post, newest):
    life = post.run_dir / "life"
    (life / "nodes").mkdir()
    write_json(life / "launch.json", {"epoch": 1})
    (post.run_dir / f"checkpoints/epochs/{newest:06d}.json").write_text("{}")
    agent = Agent(life, post, None)
    agent._looked = float("-inf")
    return agent


def test_an_agent_of_a_life_that_was_replaced_leaves_by_itself(post):
    assert fenced_agent(post, newest=2).watch() == ()


def test_an_agent_of_the_newest_life_stays(post):
    assert not fenced_agent(post, newest=1).fenced()


def test_an_agent_whose_launcher_is_gone_leaves_everything_as_it_is(post):
    agent = fenced_agent(post, newest=1)
    agent.parent = -1
    assert agent.watch() is None


def test_a_node_is_tidied_even_when_a_log_cannot_be_saved(post, tmp_path):
    run_rank(post)
    with pytest.raises(FileNotFoundError):
        node.tidy([post], [0], tmp_path / "nowhere")
    assert not post.scratch.exists()


@pytest.mark.parametrize(
    ("mute", "own", "lost"),
    [
        (["n2"], "n1", ("n2",)),
        (["n2", "n3"], "n1", ("n2",)),
        (["n1", "n2"], "n1", ()),
        (["n2"], None, ("n2",)),
        ([], "n1", ()),
    ],
)
def test_a_node_is_lost_when_it_was_mute_before_it_was_told_to_tidy(mute, own, lost):
    since = {"n1": 100.0, "n2": 90.0, "n3": 99.0}
    assert lost_nodes(mute, since, 100.0, own) == lost
