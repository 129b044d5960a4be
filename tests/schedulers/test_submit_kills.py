"""exa submit and exa resume, killed at every effect they have: afterwards there is one job.

The scheduler is the fake Slurm, whose jobs wait. A killed exa leaves its sbatch running, as a
real kill does; the sweep lets it finish before it looks.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_slurm import FakeSlurm
from run_maker import profile
from sweeper import MARK

RUNFILE = """
[resources]
walltime = "00:10:00"
nodes = 1
[data]
path = {data!r}
vocab = 320
[train]
steps = 40
seq_len = 64
global_batch = 4
microbatch = 2
[checkpoint]
every = 5
"""

SHARDS = 4


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["submit", "resume"])
@pytest.mark.parametrize("shard", range(SHARDS))
def test_killed_at_any_effect_it_ends_in_one_job(
    fake: FakeSlurm, tmp_path: Path, shard: int, victim: str
) -> None:
    fake.hold()
    data = tmp_path / "data"
    data.mkdir()
    (data / "manifest.json").write_text(json.dumps({"vocab": 320, "data_id": "x" * 32}))
    (tmp_path / "run.toml").write_text(RUNFILE.format(data=str(data)))
    profile(tmp_path, retry_s=20.0)
    here = Path(__file__).parent
    env = {
        **fake.env,
        "EXA_RUNS": str(tmp_path / "runs"),
        "EXA_CACHE": str(tmp_path / "cache"),
        "PYTHONPATH": f"{here}{os.pathsep}{here.parents[1]}",
    }
    words = [str(fake.folder), str(tmp_path), str(1 + shard), str(SHARDS), victim]
    argv = ["env", f"{MARK}={tmp_path}", sys.executable, str(here / "sweeper.py"), *words]
    done = subprocess.run(argv, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    for outcome in outcomes:
        said = (tmp_path / f"{victim}{outcome['at']}.log").read_text()
        assert (outcome["jobs"], outcome["again"]) == (1, 0), (outcome, said)
    assert outcomes[-1]["killed"] == 0
    # Every shard was really killed before, at and after the submission itself.
    assert len(outcomes) > 8
    assert {outcome["killed"] for outcome in outcomes[:-1]} == {-9}
