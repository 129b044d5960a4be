"""`exa plan` tells what `exa submit` would do or refuse, and does none of it."""

import subprocess
import sys

SCHEMA = {
    "schema": int, "run": str, "site": dict, "scheduler": str, "nodes": int, "walltime": str,
    "walltime_s": int, "queue": dict, "rejected": list, "next": dict,
    "layout": list, "binding": type(None), "model": dict, "checkpoint": dict, "preflight": list,
}  # fmt: skip

AUTO = ("--set", "train.global_batch=auto")
FOUR_FAULTS = (
    *("--nodes", "17", "--set", "data.path=/nowhere"),
    *("--set", "train.global_batch=3", "--set", 'resources.after=["1"]'),
)
SAID = ("/nowhere", "nearest global_batch", "16 nodes in local, 168 h", "no job can wait")

AURORA = """
[site]
name = "aurora-like"
[scheduler]
kind = "local"
[launcher]
kind = "mpich"
command = ["mpiexec", "-n", "{ranks}"]
[demands]
min_walltime = "00:05:00"
[[queue]]
name = "debug-scaling"
debug = true
limit = [{ min_nodes = 2, max_nodes = 256, walltime = "01:00:00" }]
[[queue]]
name = "prod"
routes = [{ name = "small", min_nodes = 256, max_nodes = 1024, walltime = "12:00:00" }]
"""


def tree(exa):
    return sorted(exa.home.rglob("*"))


def test_plan_and_submit_refuse_the_same_faults_all_at_once_and_create_nothing(exa):
    path, _ = exa.runfile()
    before = tree(exa)
    for verb in ("plan", "submit"):
        done = exa(verb, path, *FOUR_FAULTS, expect=3)
        assert "4 faults" in done.stderr and all(said in done.stderr for said in SAID)
        assert "Traceback" not in done.stderr
        assert tree(exa) == before
    assert exa("submit", path, *FOUR_FAULTS, "--dry-run", expect=3).stdout == ""


def test_a_faulty_plan_is_still_shown_with_what_is_known(exa):
    path, _ = exa.runfile()
    found = exa.json("plan", path, *FOUR_FAULTS, expect=3)
    assert (found["layout"], found["model"], found["queue"]) == (None, None, None)
    verdicts = {row["name"]: row["verdict"] for row in found["preflight"]}
    faults = {name for name, verdict in verdicts.items() if verdict == "fault"}
    assert faults == {"data", "layout", "queue", "after"}
    assert (verdicts["space"], verdicts["run directory"]) == ("not checked", "ok")


def test_a_run_directory_that_cannot_be_made_stops_a_submit_before_the_data_is_prepared(exa):
    path, _ = exa.runfile()
    (exa.home / "runs").write_text("in the way")
    words = ("--set", "data.path=builtin:python-stdlib")
    done = exa("submit", path, *words, expect=3)
    assert "runs is a file" in done.stderr and "preparing" not in done.stderr
    assert not (exa.home / "cache").exists()
    # The dry run looks at no filesystem and says so.
    assert (
        "run directory" in exa("submit", path, *words, "--dry-run").stderr.split("Not checked")[1]
    )


def test_a_name_that_is_taken_is_a_fault_among_the_others(exa):
    path, _ = exa.runfile()
    taken = exa.home / "runs" / "mine-0000"
    taken.mkdir(parents=True)
    for verb in ("plan", "submit"):
        done = exa(verb, path, "--name", "mine", "--nodes", "17", *AUTO, expect=3)
        assert "2 faults" in done.stderr and "exa resume mine continues it" in done.stderr
    taken.rmdir()


def test_a_site_refuses_by_its_own_table_with_the_nearest_that_run(exa):
    path, _ = exa.runfile()
    profile = exa.home / "aurora-like.toml"
    profile.write_text(AURORA)
    request = ("--site", profile, "--nodes", "100", "--walltime", "02:00:00")
    done = exa("plan", path, *request, "--set", "train.global_batch=auto", expect=3)
    assert "2–255 nodes: debug-scaling, 1 h; or 256 nodes in prod, 12 h" in done.stderr
    shown = exa.json("plan", path, *request, "--set", "train.global_batch=auto", expect=3)
    assert shown["rejected"] == [
        {"queue": "debug-scaling", "reason": "100 nodes may run 1 h"},
        {"queue": "prod", "reason": "takes 256–1,024 nodes"},
    ]
    small = exa("plan", path, *request, "--queue", "small", expect=3)
    assert "ask for the queue prod" in small.stderr
    brief = exa("plan", path, "--site", profile, "--walltime", "00:01:00", expect=3)
    assert "takes no job under 00:05:00" in brief.stderr
    exa("plan", path, *request, "--queue", "prud", expect=6)


def test_a_good_plan_shows_queue_layout_sizes_and_checks(exa):
    path, _ = exa.runfile()
    before = tree(exa)
    found = exa.json("plan", path, "--nodes", "2")
    assert {key: type(value) for key, value in found.items()} == SCHEMA
    assert found["schema"] == 1 and found["queue"]["name"] == "local"
    values = {row["key"]: row["value"] for row in found["layout"]}
    why = {row["key"]: row["why"] for row in found["layout"]}
    assert values["parallel.world"] == 2 and values["train.accumulation"] == 1
    assert why["parallel.nodes"] == "--nodes" and f"{path}:" in why["train.microbatch"]
    assert all(why.values())
    model, saved = found["model"], found["checkpoint"]
    assert saved["bytes"] == 12 * model["parameters"]
    assert saved["bytes_at_most"] == 4 * saved["bytes"] and saved["files"] == 2 + 3
    assert model["state_bytes_per_rank"] == 8 * model["parameters"]
    assert {row["verdict"] for row in found["preflight"]} == {"ok", "not checked"}
    text = exa("plan", path, "--nodes", "2").stdout
    assert "\x1b" not in text and "pre-flight" in text and "local: the only queue" in text
    assert tree(exa) == before


def test_ddp_holds_the_whole_state_on_every_rank(exa):
    path, _ = exa.runfile()
    model = exa.json("plan", path, "--set", "parallel.engine=ddp")["model"]
    assert model["state_bytes_per_rank"] == 16 * model["parameters"]


def test_plan_loads_nothing_heavy(exa):
    path, _ = exa.runfile()
    code = (
        "import sys; from exa_cli.main import run; assert run(sys.argv[1:], True) == 0\n"
        "print(*sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "plan", str(path)],
        env=exa.env, cwd=exa.home, capture_output=True, text=True, check=True,
    )  # fmt: skip
    heavy = {"torch", "numpy", "rich", "mpi4py", "matplotlib", "h5py", "exa_train"}
    assert not set(done.stderr.split()) & heavy


def test_what_only_may_go_wrong_is_a_warning(exa):
    path, _ = exa.runfile()
    words = ("--walltime", "00:00:10", "--set", "policy.stop_before=00:00:10")
    assert "warning: walltime: " in exa("submit", path, *words, "--dry-run").stderr
    rows = exa.json("plan", path, *words)["preflight"]
    assert [row["name"] for row in rows if row["verdict"] == "warning"] == ["walltime"]


SLURM = """
inherits = "slurm"
[directives]
account = "fill in"
[node]
count = 2
ranks_per_node = 4
cpus = 64
gpus = 4
[launcher]
options = ["--mpi=pmix"]
[torch]
device = "cuda"
backend = "nccl"
[[queue]]
name = "gpu"
limit = [{ max_nodes = 8, walltime = "24:00:00" }]
"""


def test_a_missing_account_is_one_fault_wherever_it_is_found(exa):
    path, _ = exa.runfile()
    profile = exa.home / "mine.toml"
    profile.write_text(SLURM)
    words = ("--site", profile, "--set", "train.global_batch=auto")
    missing = exa.json("plan", path, *words, expect=3)["preflight"]
    assert [row["name"] for row in missing if row["verdict"] == "fault"] == ["script"]
    both = exa.json("plan", path, *words, "--nodes", "9", expect=3)["preflight"]
    assert [row["name"] for row in both if row["verdict"] == "fault"] == ["queue", "account"]
    assert exa.json("plan", path, *words, "--account", "me")["queue"]["name"] == "gpu"


def test_jobs_to_wait_for_reach_the_script(exa):
    path, _ = exa.runfile()
    profile = exa.home / "mine.toml"
    profile.write_text(SLURM)
    words = ("--site", profile, "--account", "me", "--set", "train.global_batch=auto")
    after = ("--set", 'resources.after=["12", "13_1"]')
    assert (
        "#SBATCH --dependency=afterany:12:13_1\n"
        in exa("submit", path, *words, *after, "--dry-run").stdout
    )
    bad = exa("plan", path, *words, "--set", 'resources.after=["12;rm"]', expect=3)
    assert "'12;rm' is no job id of slurm" in bad.stderr
