"""exa submit and exa resume, killed at every effect they have: afterwards there is one job.

The scheduler is the fake Slurm, whose jobs wait. A killed exa leaves its sbatch running, as a
real kill does; the sweep lets it finish before it looks.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_cluster import FakeCluster
from lab.cluster import Cluster
from run_maker import profile
from sweeper import MARK

RUNFILE = """
[resources]
walltime = "00:10:00"
nodes = 100  # of which no test cluster has so many: the jobs wait for ever
[data]
path = {data!r}
vocab = 320
[train]
steps = 40
seq_len = 64
global_batch = 200
microbatch = 2
[checkpoint]
every = 5
"""

SHARDS = 4
HERE = Path(__file__).parent


def sweep(
    kind: str, home: Path, env: dict[str, str], victim: str, *points: str
) -> list[dict[str, Any]]:
    """Kill ``victim`` at each point. Every outcome, each checked to be one job and no fault."""
    data = home / "data"
    data.mkdir()
    (data / "manifest.json").write_text(json.dumps({"vocab": 320, "data_id": "x" * 32}))
    (home / "run.toml").write_text(RUNFILE.format(data=str(data)))
    profile(home, retry_s=20.0, kind=kind)
    own = {"EXA_RUNS": str(home / "runs"), "EXA_CACHE": str(home / "cache"), MARK: str(home)}
    path = f"{HERE}{os.pathsep}{HERE.parents[1]}"
    done = subprocess.run(
        [sys.executable, str(HERE / "sweeper.py"), kind, str(home), victim, *points],
        env={**env, **own, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    for outcome in outcomes:
        said = (home / f"{victim}{outcome['at']}.log").read_text()
        assert (outcome["jobs"], outcome["again"]) == (1, 0), (outcome, said)
    return outcomes


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["slurm", "pbs"])
@pytest.mark.parametrize("victim", ["submit", "resume"])
@pytest.mark.parametrize("shard", range(1, SHARDS + 1))
def test_killed_at_any_effect_it_ends_in_one_job(
    request: pytest.FixtureRequest, tmp_path: Path, shard: int, victim: str, kind: str
) -> None:
    fake: FakeCluster = request.getfixturevalue("fake" if kind == "slurm" else "fake_pbs")
    fake.hold()
    outcomes = sweep(kind, tmp_path, fake.env, victim, f"{shard}:{SHARDS}")
    names = [job["name"] for job in fake.all()]
    assert len(set(names)) == len(names) == len(outcomes)
    # All places were tried: at the last of them the victim had come to its end.
    assert [outcome["killed"] for outcome in outcomes] == [-9] * (len(outcomes) - 1) + [0]
    assert len(outcomes) > 5


@pytest.mark.slow
def test_killed_at_random_effects_it_ends_in_one_job_of_real_slurm(
    _slurm: Cluster, tmp_path: Path, kill_round: int
) -> None:
    _slurm.calm()
    points = sorted(random.sample(range(1, 80), 6))
    outcomes = sweep("slurm", tmp_path, {**os.environ, **_slurm.env}, "submit", *map(str, points))
    assert [outcome["at"] for outcome in outcomes] == points
