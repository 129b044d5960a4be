"""The job script: as reviewed in ``golden/``, and as a real bash runs it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from exa_cli.base import marks
from exa_cli.base.errors import Invalid
from exa_cli.login import draft as drafts
from exa_cli.login.draft import Options
from exa_cli.runs.rundir import RunDir
from exa_cli.script.ask import Ask, Value
from exa_cli.script.dialects import dialect_of
from exa_cli.script.directives import Line, combine
from exa_cli.script.job import (
    LIFE_TAKEN,
    LOOK,
    UNREACHABLE,
    JobScript,
    Variable,
    job_script,
    module_lines,
    template_of,
)
from exa_cli.script.render import Script
from exa_cli.sites.software import Modules

GOLDEN = Path(__file__).parent / "golden"

FAKE_PYTHON = """#!/bin/bash
printf '%s\\0' "$@" > "$EXA_RUN_DIR/argv.$8"
env -0 > "$EXA_RUN_DIR/env.$8"
echo "pid $$, input $(readlink /proc/self/fd/0)"
echo "trouble" >&2
exit 75
"""


SLURM_SITE = """
inherits = "slurm"

[[queue]]
name = "gpu"
partition = "gpu-a100"
qos = "normal"

[[queue.limit]]
max_nodes = 8
walltime = "24:00:00"

[directives]
account = "m1234"
constraint = "a100&nvme"

[node]
ranks_per_node = 4
cpus = 64
gpus = 4

[launcher]
options = ["--mpi=pmix"]

[modules]
use = ["/soft/modulefiles"]
load = ["gcc/13", "openmpi/5.0"]

[[env]]
name = "nccl"
variables = { NCCL_NET = "AWS Libfabric", NCCL_DEBUG = "WARN" }

[rendezvous]
interface = "hsn0"

[torch]
device = "cuda"
backend = "nccl"
"""

PBS_SITE = """
inherits = "pbs"

[demands]
filesystems = ["home", "eagle"]

[[queue]]
name = "prod"

[[queue.limit]]
max_nodes = 8
walltime = "24:00:00"

[directives]
A = "hep"
place = "scatter:excl"
":system" = "hill"

[node]
ranks_per_node = 4
cpus = 64
gpus = 4

[launcher]
kind = "pals"

[preemption]
requeue = true

[torch]
device = "cuda"
backend = "nccl"
"""

PBS_BARE = """
inherits = "pbs"
directives = { A = false, ":mpiprocs" = false, ":ncpus" = false }
node = { ranks_per_node = 1, cpus = 8, gpus = 0 }
launcher.kind = "mpich"
torch = { device = "cpu", backend = "gloo" }
"""

PBS_USERS = """
filesystems = ["home", "eagle"]
after = ["12.pbs-1", "13"]
[script]
header = '''
#PBS -m be
#PBS -l place=scatter:group=rack
#PBS -A 'another project'
#PBS -W tolerate_node_failures=all
'''
"""

BARE_SITE = """
inherits = "slurm"
directives.account = false
node = { ranks_per_node = 1, cpus = 8, gpus = 0 }
launcher.options = ["--mpi=pmi2"]
torch = { device = "cpu", backend = "gloo" }
"""

USERS = """
[script]
header = '''
#SBATCH --mail-type=END,FAIL
#SBATCH -C h100   # instead of the site's
#SBATCH --export=ALL
'''
prologue = '''
ulimit -n 65536

cat > "$TMPDIR/it's here" <<"END"
    kept as it is: $HOME `id`\t"
END
'''
[env]
NCCL_DEBUG = "INFO"
"""


def drafted(site: str, tmp_path: Path, run: str = "", **options: Any) -> Script:
    """The script of a run file on a site, as ``--dry-run`` makes it."""
    (tmp_path / "site.toml").write_text(site)
    (tmp_path / "run.toml").write_text(f'name = "demo"\n[resources]\nwalltime = "02:00:00"\n{run}')
    made = drafts.draft(tmp_path / "run.toml", Options(str(tmp_path / "site.toml"), **options))
    run_dir = RunDir(Path("/scratch/runs/demo-3f9a"))
    plan = made.plan(run_dir.run_id, drafts.expected_data(made))
    request = drafts.request(made, run_dir, "001", plan)
    return drafts.script(made, run_dir, {**request, "python": "/opt/exa/bin/python"}, plan)


def made(
    run_dir: Path,
    *environment: Variable,
    scheduler: str = "local",
    tag: str = "exa-demo-3f9a-001",
    python: Path = Path("/opt/exa/bin/python"),
    modules: Modules = Modules(),  # noqa: B008
    prologue: tuple[str, ...] = (),
) -> Script:
    ask = Ask(
        name=Value(tag, "the attempt's tag"),
        nodes=Value("2", "site local, node.count"),
        walltime=Value("01:00:00", "run.toml:4"),
        workdir=Value(str(run_dir), "the run's directory"),
        folder=Value(f"{run_dir}/attempts/001", "the attempt's directory"),
        ranks_per_node=Value("1", "the plan"),
        kill_delay=Value("10", "site local, scheduler.kill_delay_s"),
    )
    return job_script(
        JobScript(
            scheduler=scheduler,
            directives=combine(dialect_of(scheduler), ask),
            run_dir=run_dir,
            attempt="001",
            tag=tag,
            python=python,
            modules=module_lines(modules, lambda key: f"modules.{key}"),
            environment=environment,
            prologue=tuple(Line(text, "script.prologue") for text in prologue),
        )
    )


FILESYSTEMS = 'filesystems = ["eagle"]'

CASES: dict[str, Callable[[Path], Script]] = {
    "local-plain": lambda tmp: made(Path("/scratch/runs/demo-3f9a")),
    "local-environment": lambda tmp: made(
        Path("/scratch/my runs/$(id)/it's-3f9a"),
        Variable("OMP_PROC_BIND", "close", "run.toml:9"),
        Variable("GREETING", "two\nlines, a 'quote', $HOME and `id`", "run.toml:10"),
    ),
    "pbs-1-node": lambda tmp: drafted(PBS_BARE, tmp, nodes=1),
    "pbs-4-nodes": lambda tmp: drafted(PBS_SITE, tmp, FILESYSTEMS, nodes=4),
    "pbs-users-lines": lambda tmp: drafted(PBS_SITE, tmp, PBS_USERS, nodes=2),
    "slurm-1-node": lambda tmp: drafted(BARE_SITE, tmp, nodes=1),
    "slurm-4-nodes": lambda tmp: drafted(SLURM_SITE, tmp, nodes=4),
    "slurm-account-queue-qos": lambda tmp: drafted(
        SLURM_SITE, tmp, nodes=2, account="m9999", queue="gpu"
    ),
    "slurm-users-lines": lambda tmp: drafted(SLURM_SITE, tmp, USERS, nodes=4),
}


@pytest.fixture
def case(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return CASES[name](tmp_path)


@pytest.mark.parametrize("name", sorted(CASES))
def test_scripts_are_those_that_were_reviewed(name: str, case: Script) -> None:
    golden = GOLDEN / f"{name}.sh"
    if os.environ.get("EXA_WRITE_GOLDEN"):
        golden.write_text(case.text)
    assert case.text == golden.read_text(), "review it, then EXA_WRITE_GOLDEN=1 pytest …"


def test_no_reviewed_script_is_left_without_a_case() -> None:
    assert {path.stem for path in GOLDEN.glob("*.sh")} == set(CASES)


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_line_has_an_origin(name: str, case: Script) -> None:
    explained = case.explained()
    assert all(origin for _, origin in explained)
    origins = dict(explained)
    assert origins["export EXA_TAG=exa-demo-3f9a-001"].endswith("the attempt's tag")


@pytest.mark.parametrize("name", ["EXA_TAG", "EXA_RUN_DIR", "EXA_JOB_ID"])
def test_a_run_file_cannot_set_the_marks_of_a_run(name: str) -> None:
    with pytest.raises(Invalid, match=f"{name} is set by exa itself already") as caught:
        made(Path("/r"), Variable(name, "x", "run.toml:9"))
    assert caught.value.where == "run.toml:9"


def test_every_bad_variable_is_reported_at_once() -> None:
    bad = [Variable("A B", "x", "line 1"), Variable("C", "\0", "line 2"), Variable("D", "", "l3")]
    with pytest.raises(Invalid) as caught:
        made(Path("/r"), *bad, Variable("D", "", "line 4"))
    assert all(f"line {n}" in str(caught.value) for n in (1, 2, 4))


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("mark", marks.ALL)
def test_nobody_may_say_what_marks_a_run_s_processes(mark: str, before: bool) -> None:
    """A sweep ends what carries these: with another value it would end somebody else's."""
    with pytest.raises(Invalid, match=f"{mark} is set by exa itself"):
        made(Path("/r"), Variable(mark, "/other", "site.toml:4", before))


def test_a_relative_run_directory_is_refused() -> None:
    with pytest.raises(Invalid, match="the run directory must be absolute"):
        made(Path("runs/x"))


def test_a_batch_system_without_a_template_is_refused() -> None:
    with pytest.raises(Invalid, match="there is no job script template for 'none-such'"):
        template_of("none-such")


@pytest.mark.parametrize("name", sorted(CASES))
def test_bash_finds_no_fault_in_a_script(name: str, case: Script, tmp_path: Path) -> None:
    path = tmp_path / "script.sh"
    path.write_text(case.text)
    checked = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("name", [n for n in sorted(CASES) if n.startswith(("slurm", "pbs"))])
def test_directives_come_before_the_first_command(name: str, case: Script) -> None:
    """sbatch and qsub pass over later ones in silence."""
    mark = "#SBATCH" if name.startswith("slurm") else "#PBS"
    first = next(n for n, line in enumerate(case.lines) if line.text and line.text[0] != "#")
    directives = [n for n, line in enumerate(case.lines) if line.text.startswith(mark)]
    assert directives == list(range(1, len(directives) + 1))
    assert max(directives) < first


def test_origins_name_the_file_and_line_that_said_it(tmp_path: Path) -> None:
    origins = dict(drafted(SLURM_SITE, tmp_path, USERS, nodes=4, account="me").explained())
    site, run = f"site site: {tmp_path}/site.toml", f"{tmp_path}/run.toml"
    assert origins["#SBATCH --nodes=4"] == "--nodes, key resources.nodes"
    assert origins["#SBATCH --account=me"] == "--account, key resources.account"
    assert origins["#SBATCH --time=02:00:00"] == f"{run}:3, key resources.walltime"
    assert origins["#SBATCH --gpus-per-node=4"] == f"{site}:20, key node.gpus"
    assert origins["module load gcc/13 || exit 70"] == f"{site}:27, key modules.load"
    assert origins["#SBATCH --export=ALL"] == f"{run}:6, key script.header, line 3"
    assert origins["ulimit -n 65536"] == f"{run}:11, key script.prologue, line 1"
    assert origins["export NCCL_DEBUG=INFO"] == f"{run}:19, key env.NCCL_DEBUG"
    assert origins["export NCCL_SOCKET_IFNAME=hsn0"] == f"{site}:34, key rendezvous.interface"


def test_a_site_that_leaves_a_value_to_each_user_is_refused_without_it(tmp_path: Path) -> None:
    site = SLURM_SITE.replace('account = "m1234"', 'account = "fill in"')
    with pytest.raises(Invalid, match="wants a value for the directive account") as caught:
        drafted(site, tmp_path)
    assert "site.toml:14, key directives.account" in str(caught.value.where)
    assert "#SBATCH --account=me\n" in drafted(site, tmp_path, account="me").text


def test_a_directive_in_the_prologue_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="a directive among commands is not read"):
        drafted(SLURM_SITE, tmp_path, '[script]\nprologue = "#SBATCH -p x"\n')


@pytest.mark.parametrize("text", ["a\\u0000b", "a\\rb", "a\\u2028b"])
def test_a_line_that_is_no_line_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(Invalid, match="cannot stand in a script"):
        drafted(SLURM_SITE, tmp_path, f'[script]\nprologue = "{text}"\n')


class Started:
    """A run directory and a script that runs a fake interpreter in it."""

    def __init__(self, folder: Path, *environment: Variable, **more: Any) -> None:
        self.run_dir = folder / "my $(runs)" / "it's-3f9a"
        (self.run_dir / "attempts" / "001").mkdir(parents=True)
        python = folder / "fake python"
        python.write_text(FAKE_PYTHON)
        python.chmod(0o755)
        self.script = folder / "script.sh"
        self.script.write_text(made(self.run_dir, *environment, python=python, **more).text)
        self.lives = self.run_dir / "attempts" / "001" / "lives"
        self.folder = folder
        self.env: dict[str, str] = {}

    def with_module(self, body: str) -> None:
        """Start bash with a function ``module``, as a login shell of a site has one."""
        self.env["BASH_FUNC_module%%"] = "() { " + body + "\n}"

    def run(self, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", str(self.script)],
            env={**os.environ, **self.env, **env},
            input="not for the script\n",
            capture_output=True,
            text=True,
        )


@pytest.fixture(params=["local", "slurm"])
def started(tmp_path: Path, request: pytest.FixtureRequest) -> Started:
    return Started(tmp_path, Variable("ODD", "a\nb'c $(id)", "here"), scheduler=request.param)


def test_a_life_is_taken_and_the_supervisor_replaces_the_script(started: Started) -> None:
    ended = started.run()
    assert (ended.returncode, ended.stdout) == (75, "")
    argv = (started.run_dir / "argv.1").read_text()
    assert argv.split("\0")[:-1] == [
        "-m", "exa_cli", "job", str(started.run_dir), "--attempt", "001", "--life", "1",
    ]  # fmt: skip
    log = (started.lives / "1" / "stdout.log").read_text()
    assert "input /dev/null" in log
    assert "trouble" in log
    env = (started.run_dir / "env.1").read_text().split("\0")
    assert f"EXA_RUN_DIR={started.run_dir}" in env
    assert "EXA_TAG=exa-demo-3f9a-001" in env
    assert "ODD=a\nb'c $(id)" in env


def test_a_second_start_is_a_second_life_and_leaves_the_first_alone(started: Started) -> None:
    started.run()
    first = (started.lives / "1" / "stdout.log").read_text()
    assert started.run().returncode == 75
    assert (started.lives / "1" / "stdout.log").read_text() == first
    assert (started.lives / "2" / "stdout.log").exists()
    assert sorted(path.name for path in started.lives.iterdir()) == ["1", "2"]


def test_the_loser_of_a_race_for_a_life_ends_with_its_own_status(
    started: Started, tmp_path: Path
) -> None:
    """The other copy takes the life between our look and our mkdir."""
    shim = tmp_path / "bin" / "mkdir"
    shim.parent.mkdir()
    shim.write_text('#!/bin/bash\n[ "$1" = -p ] || /bin/mkdir "$1"\nexec /bin/mkdir "$@"\n')
    shim.chmod(0o755)
    ended = started.run(PATH=f"{shim.parent}:{os.environ['PATH']}")
    assert ended.returncode == LIFE_TAKEN
    assert "another copy of this job took life 1" in ended.stderr
    assert not list(started.run_dir.glob("argv.*")), "the loser must not start a supervisor"


def test_of_copies_started_together_each_has_a_life_of_its_own_or_ends(started: Started) -> None:
    with ThreadPoolExecutor(8) as pool:
        codes = [ended.returncode for ended in pool.map(lambda _: started.run(), range(16))]
    winners = codes.count(75)
    assert winners + codes.count(LIFE_TAKEN) == 16
    assert winners >= 1
    logs = [path.read_text() for path in started.lives.glob("*/stdout.log")]
    assert len(logs) == winners
    assert all(log.count("trouble") == 1 for log in logs)


def test_a_run_directory_that_cannot_be_written_is_unreachable(started: Started) -> None:
    started.lives.write_text("a file where the lives should be")
    ended = started.run()
    assert ended.returncode == UNREACHABLE
    assert not list(started.run_dir.glob("argv.*"))


def test_a_life_that_cannot_be_made_is_not_taken_for_a_lost_race(
    started: Started, tmp_path: Path
) -> None:
    shim = tmp_path / "bin" / "mkdir"
    shim.parent.mkdir()
    shim.write_text('#!/bin/bash\n[ "$1" = -p ] || exit 1\nexec /bin/mkdir "$@"\n')
    shim.chmod(0o755)
    ended = started.run(PATH=f"{shim.parent}:{os.environ['PATH']}")
    assert ended.returncode == UNREACHABLE


def test_the_exit_codes_of_a_script_differ_from_a_supervisors() -> None:
    from exa_cli.base import errors

    classes = [c for c in vars(errors).values() if isinstance(c, type)]
    codes = {c.code for c in classes if issubclass(c, errors.ExaError)}
    assert LIFE_TAKEN not in codes | {0, 70, 71, 72, 73, 74, 75, 130}
    assert LIFE_TAKEN < 126, "bash and signals have the statuses above"
    assert LOOK == 70, "what a supervisor says when a person has to look"


def test_modules_come_first_then_variables_then_the_users_commands(tmp_path: Path) -> None:
    """``module`` is a function that site-wide start files define."""
    started = Started(
        tmp_path,
        Variable("BOTH", "the run's", "here"),
        scheduler="slurm",
        modules=Modules(purge=True, use=("/a b",), load=("$(x)/1", "b")),
        prologue=('echo "prologue sees $BOTH"', "export BOTH=changed"),
    )
    started.with_module('echo "module $#: $*"; export BOTH=modules')
    assert started.run().returncode == 75
    log = (started.lives / "1" / "stdout.log").read_text().splitlines()
    assert log[:5] == [
        "module 1: purge", "module 2: use /a b", "module 2: load $(x)/1", "module 2: load b",
        "prologue sees the run's",
    ]  # fmt: skip
    assert "BOTH=changed" in (started.run_dir / "env.1").read_text().split("\0")


def test_a_module_that_cannot_be_loaded_stops_the_job_with_its_words_in_the_log(
    tmp_path: Path,
) -> None:
    started = Started(tmp_path, scheduler="slurm", modules=Modules(load=("good", "bad", "other")))
    started.with_module('echo "$2"; [ "$2" != bad ]')
    assert started.run().returncode == LOOK
    assert (started.lives / "1" / "stdout.log").read_text().split() == ["good", "bad"]
    assert not list(started.run_dir.glob("argv.*")), "the supervisor must not start"


def test_a_notice_before_the_supervisor_listens_does_not_end_the_script(tmp_path: Path) -> None:
    started = Started(tmp_path, scheduler="slurm", prologue=("kill -USR1 $$", "echo still here"))
    assert started.run().returncode == 75
    assert "still here" in (started.lives / "1" / "stdout.log").read_text()


def test_what_the_script_exports_reaches_the_ranks_whatever_sbatch_exported(
    tmp_path: Path,
) -> None:
    """Slurm sets SLURM_EXPORT_ENV to what --export said, and srun obeys it."""
    started = Started(tmp_path, scheduler="slurm")
    started.run(SLURM_EXPORT_ENV="NONE")
    assert "SLURM_EXPORT_ENV=ALL" in (started.run_dir / "env.1").read_text().split("\0")
