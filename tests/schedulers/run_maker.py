"""Run directories as a finished or a running training leaves them, without training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from exa_cli.base import clock
from exa_cli.runs.rundir import RunDir
from exa_cli.sites.load import load_site

PROFILE = """
inherits = "local"
[site]
name = "lab"
[scheduler]
kind = "{kind}"
poll_s = 30.0
timeout_s = 20.0
retry_s = {retry_s}
[[queue]]
name = "debug"
[node]
total = 200
"""


def profile(folder: Path, retry_s: float = 0.0, kind: str = "slurm") -> Path:
    """The profile of a site with this batch system."""
    path = folder / "lab.toml"
    path.write_text(PROFILE.format(retry_s=retry_s, kind=kind))
    return path


class RunMaker:
    """Makes runs under ``root``, all of one frozen profile."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True)
        self.site = load_site(str(profile(root.parent)), {}).text
        self.plan = {
            "schema": 1, "site": "lab", "scheduler": "slurm", "model": {}, "data": {}, "env": {},
            "train": {"steps": 400, "seq_len": 256, "global_batch": 8},
            "parallel": {"nodes": 2, "ranks_per_node": 1, "world": 2},
            "policy": {"stop_before_s": 60},
        }  # fmt: skip

    def run(self, name: str, job_id: str, *, done: bool, commits: int = 20) -> RunDir:
        run = RunDir(self.root / f"{name}-0000")
        for part in ("journal", "attempts/001", "checkpoints/epochs", "metrics"):
            (run.path / part).mkdir(parents=True)
        (run.path / "site.toml").write_text(self.site)
        (run.path / "plan.json").write_text(json.dumps(self.plan))
        tag = run.tag("001")
        login = [{"event": "intent", "attempt": "001", "tag": tag, "nodes": 2}]
        login.append(
            {"event": "accepted", "attempt": "001", "tag": tag, "job_id": job_id,
             "scheduler": "slurm"}
        )  # fmt: skip
        self._write(run, "login-00000000", login)
        if done:
            job: list[dict[str, Any]] = [{"event": "life", "host": "n1", "pid": 4}]
            job += [{"event": "launched", "pid": 5, "argv": ["mpiexec"] * 9}]
            job += [{"event": "ended", "cause": "finished", "evidence": ["done"], "step": 400}]
            self._write(run, "job-001-1-00000000", job)
            rank: list[dict[str, Any]] = [{"event": "training", "step": 0}]
            for n in range(1, commits + 1):
                step = n * 400 // commits
                rank.append({"event": "committed", "step": step, "name": f"step-{step:08d}.0000",
                             "epoch": 1, "bytes": 1})  # fmt: skip
            rank.append({"event": "done", "step": 400})
            self._write(run, "rank-001-1-00000000", rank)
            lines = [{"step": n, "loss": 5.0, "tokens_per_s": 1e5, "step_s": 0.2, "lr": 1e-3}
                     for n in range(1, 401)]  # fmt: skip
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (run.metrics / "metrics.jsonl").write_text(text)
        return run

    def _write(self, run: RunDir, writer: str, events: list[dict[str, Any]]) -> None:
        lines = [{"t": clock.iso(1000.0 + n), "n": n, **event} for n, event in enumerate(events)]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (run.path / "journal" / f"{writer}.jsonl").write_text(text)
