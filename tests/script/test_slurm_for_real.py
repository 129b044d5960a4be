"""What is written for Slurm, read by a real one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from lab.cluster import Cluster

from exa_cli.base.errors import Invalid
from exa_cli.script import quote
from exa_cli.script.ask import Ask, Value
from exa_cli.script.dialects import dialect_of
from exa_cli.script.directives import Directive, Line, combine
from exa_cli.script.job import JobScript, Variable, job_script

SLURM = dialect_of("slurm")

# What a supervisor would see: its own environment, and that of two ranks started by srun.
SUPERVISOR = """#!{python}
import os, signal, subprocess, sys, time
from pathlib import Path
run, life = Path(os.environ["EXA_RUN_DIR"]), sys.argv[-1]
signal.signal(signal.SIGUSR1, lambda *_: (run / "noted").touch())

def put(name, data):
    (run / f"{{name}}.tmp").write_bytes(data)
    (run / f"{{name}}.tmp").rename(run / f"{{name}}.{{life}}")

put("env", b"".join(b"%s=%s\\0" % pair for pair in os.environb.items()))
# A file a task: srun mixes what tasks print, and not at the ends of lines only.
print_env = 'env -0 >"$EXA_RUN_DIR/task.$SLURM_PROCID"'
subprocess.run(["srun", "--nodes=2", "--ntasks=2", "sh", "-c", print_env], check=True)
put("ranks", b"".join((run / f"task.{{rank}}").read_bytes() for rank in range(2)))
put("argv", "\\0".join(sys.argv).encode())
while not (run / "end").exists():
    time.sleep(0.05)
"""


def submitted(slurm: Cluster, script: str, *options: str) -> str:
    # sbatch lets SBATCH_* of its environment win over directives; there are none here.
    return slurm.run("sbatch", "--parsable", *options, stdin=script).strip()


def shown(slurm: Cluster, job: str) -> str:
    return slurm.run("scontrol", "-o", "show", "job", job)


@given(
    st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=40)
    | st.text("\"'\\# $`%=-", min_size=1, max_size=12)
)
@example("a\"b'c\\d # e")
@example("--hold")
@example("é 漢 \u2003x")
@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_sbatch_reads_a_value_as_it_was_or_it_is_refused(_slurm: Cluster, value: str) -> None:
    try:
        quote.directive_value(value, "it")
    except Invalid:
        return
    line = SLURM.write(Directive("comment", value, "here"))
    job = submitted(_slurm, f"#!/bin/bash\n{line}\n#SBATCH --hold\ntrue\n")
    comment = shown(_slurm, job).partition(" Comment=")[2]
    assert comment.startswith(value)
    _slurm.run("scancel", job)


def test_a_line_after_the_first_command_is_what_sbatch_ignores(slurm: Cluster) -> None:
    """Why a directive in the prologue is refused."""
    job = submitted(slurm, "#!/bin/bash\n#SBATCH --hold\ntrue\n#SBATCH --job-name=late\n")
    assert "JobName=late" not in shown(slurm, job)


class Job:
    """A job of a run whose directory has every character that may need care."""

    def __init__(self, slurm: Cluster, folder: Path, *header: str) -> None:
        self.slurm = slurm
        self.run_dir = folder / "100%u my $(runs) # é" / 'it\'s "3f9a"'
        (self.run_dir / "attempts" / "001").mkdir(parents=True)
        python = folder / "fake python"
        python.write_text(SUPERVISOR.format(python=sys.executable))
        python.chmod(0o755)
        ask = Ask(
            name=Value("exa-demo-3f9a-001", "tag"),
            nodes=Value("2", "run"),
            walltime=Value("00:02:00", "run"),
            workdir=Value(str(self.run_dir), "run"),
            folder=Value(f"{self.run_dir}/attempts/001", "attempt"),
            ranks_per_node=Value("1", "plan"),
            cpus_per_rank=Value("2", "site"),
            gpus_per_node=Value("2", "site"),
            partition=Value("prod", "site"),
            notice_s=Value("60", "plan"),
            requeue=Value("yes", "site"),
        )
        lines = tuple(Line(text, "header") for text in header)
        script = JobScript(
            scheduler="slurm",
            directives=combine(SLURM, ask, [Directive("exclusive", True, "site")], lines),
            run_dir=self.run_dir,
            attempt="001",
            tag="exa-demo-3f9a-001",
            python=python,
            environment=(Variable("ODD", "a\nb'c $(id)", "here"),),
        )
        self.script = job_script(script).text
        self.id = submitted(slurm, self.script)

    def wait_for(self, name: str) -> list[str]:
        """The words that a supervisor left in a file, once it has."""
        self.slurm.wait_until((self.run_dir / name).exists)
        return (self.run_dir / name).read_bytes().decode().split("\0")

    def end(self) -> None:
        (self.run_dir / "end").touch()
        self.slurm.wait_until(lambda: "COMPLETED" in shown(self.slurm, self.id))


def test_a_script_runs_where_and_as_it_says(slurm: Cluster, tmp_path: Path) -> None:
    job = Job(slurm, tmp_path)
    assert job.wait_for("argv.1")[1:] == [
        "-m", "exa_cli", "job", str(job.run_dir), "--attempt", "001", "--life", "1",
    ]  # fmt: skip
    env = job.wait_for("env.1")
    for expected in ("ODD=a\nb'c $(id)", "EXA_TAG=exa-demo-3f9a-001", f"PWD={job.run_dir}"):
        assert expected in env
    told = shown(slurm, job.id)
    for said in (
        "JobName=exa-demo-3f9a-001", "Partition=prod", "NumNodes=2", "NtasksPerN:B:S:C=1:0:*:*",
        "CPUs/Task=2", "TimeLimit=00:02:00", "Requeue=1", "OverSubscribe=NO",
        f"WorkDir={job.run_dir}",
    ):  # fmt: skip
        assert said in told
    output = job.run_dir / "attempts" / "001" / f"slurm-{job.id}.out"
    assert output.exists(), "100%u in a path is a name, %j is the job"
    job.end()


def test_what_a_script_exports_reaches_ranks_and_the_submitters_shell_does_not(
    slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THE_SUBMITTER", "x")
    job = Job(slurm, tmp_path)
    ranks = job.wait_for("ranks.1")
    assert ranks.count("SLURM_NTASKS=2") == 2
    assert ranks.count("ODD=a\nb'c $(id)") == 2
    assert "OF_THE_SUBMITTER=x" not in ranks
    job.end()


def test_a_header_that_exports_all_brings_the_submitters_shell(
    slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THE_SUBMITTER", "x")
    job = Job(slurm, tmp_path, "#SBATCH --export=ALL")
    assert "OF_THE_SUBMITTER=x" in job.wait_for("env.1")
    job.end()


def test_the_notice_reaches_the_supervisor_and_ends_nothing(slurm: Cluster, tmp_path: Path) -> None:
    job = Job(slurm, tmp_path)
    job.wait_for("argv.1")
    slurm.run("scancel", "--batch", "--signal=USR1", job.id)
    slurm.wait_until((job.run_dir / "noted").exists)
    assert "JobState=RUNNING" in shown(slurm, job.id)
    job.end()


@pytest.mark.slow
def test_a_job_that_slurm_starts_again_is_a_second_life_and_keeps_its_output(
    slurm: Cluster, tmp_path: Path
) -> None:
    job = Job(slurm, tmp_path)
    job.wait_for("argv.1")
    output = job.run_dir / "attempts" / "001" / f"slurm-{job.id}.out"
    with output.open("a") as out:
        out.write("kept\n")
    slurm.run("scontrol", "requeue", job.id)
    slurm.wait_until((job.run_dir / "argv.2").exists, 200)
    assert sorted(path.name for path in (output.parent / "lives").iterdir()) == ["1", "2"]
    assert "kept\n" in output.read_text()
    assert "SLURM_RESTART_COUNT=1" in job.wait_for("env.2")
    job.end()
