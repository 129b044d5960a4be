"""The profiles of real machines: what they say has a source, and ranks sit where it says."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from exa_cli.base import resources
from exa_cli.base.errors import Invalid
from exa_cli.login import draft as drafts
from exa_cli.login.draft import Options
from exa_cli.runs.rundir import RunDir
from exa_cli.sites.binding import Hardware, choose, findings
from exa_cli.sites.cpus import cpus
from exa_cli.sites.load import load_site
from exa_cli.spec import toml

MACHINES = ("aurora", "frontier", "lumi", "perlmutter", "polaris")
PROFILES = {name: load_site(name, {}).profile for name in MACHINES}
GOLDEN = Path(__file__).parent / "golden"

GIVES = ("queue", "node", "device", "accelerator", "binding", "topology", "filesystems")
"""Tables whose numbers are a site's facts. Those of others are exa's own timers and choices."""


def document(name: str) -> dict[str, Any]:
    return toml.load(resources.folder("sites") / f"{name}.toml").values


def numbers(value: Any) -> bool:
    """Whether a number stands anywhere in a value."""
    if isinstance(value, dict):
        return any(numbers(v) for v in value.values())
    if isinstance(value, list):
        return any(numbers(v) for v in value)
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@pytest.mark.parametrize("name", MACHINES)
def test_every_number_has_a_source_and_a_day(name: str) -> None:
    """A row of a list without its own has those of the row before it."""
    for table in GIVES:
        found = document(name).get(table, {})
        rows = found if isinstance(found, list) else [found]
        told: dict[str, Any] = {}
        for row in rows:
            told = {**told, **{k: row[k] for k in ("as_of", "source") if k in row}}
            assert not numbers(row) or told.keys() == {"as_of", "source"}, (name, table, row)


@pytest.mark.parametrize("name", MACHINES)
def test_the_default_binding_keeps_every_rule_and_uses_every_device(name: str) -> None:
    profile = PROFILES[name]
    bound = choose(profile.binding, profile.node.ranks_per_node, "auto")
    usual = next(b for b in profile.binding if b.default)
    assert bound.seats == usual.rank
    assert findings(usual, Hardware(profile.node, profile.device)) == ()
    assert sorted(seat.device for seat in bound.seats) == [d.index for d in profile.device]
    assert len(bound.seats) == profile.node.ranks_per_node


BROKEN = {("aurora", "copper"), ("polaris", "pytorch-page")}
"""Bindings that the sites' own pages give and that break a rule."""


def test_a_published_binding_that_breaks_a_rule_is_kept_and_is_no_default() -> None:
    found = {
        (name, binding.name)
        for name, profile in PROFILES.items()
        for binding in profile.binding
        if findings(binding, Hardware(profile.node, profile.device))
    }
    assert found == BROKEN
    for name, binding in BROKEN:
        (kept,) = [b for b in PROFILES[name].binding if b.name == binding]
        assert kept.published and not kept.default
        assert choose(PROFILES[name].binding, len(kept.rank), binding).seats == kept.rank


def test_gpus_of_polaris_are_in_the_reverse_order_and_two_have_a_nic_near() -> None:
    seats = choose(PROFILES["polaris"].binding, 4, "auto").seats
    assert [min(cpus(seat.cpus)) for seat in seats] == [24, 16, 8, 0]
    assert [seat.nic for seat in seats] == ["none", "mlx5_1", "none", "mlx5_0"]


def test_no_rank_of_aurora_is_on_a_reserved_core_or_straddles_sockets() -> None:
    for binding in PROFILES["aurora"].binding:
        used = [cpus(seat.cpus) for seat in binding.rank]
        assert not {0, 52, 104, 156} & {cpu % 104 for seat in used for cpu in seat}
        assert all(len({cpu % 104 // 52 for cpu in seat}) == 1 for seat in used)


def test_frontier_permutes_devices_where_lumi_permutes_cores() -> None:
    frontier = choose(PROFILES["frontier"].binding, 8, "auto").seats
    lumi = choose(PROFILES["lumi"].binding, 8, "auto").seats
    assert [seat.device for seat in frontier] == [4, 5, 2, 3, 6, 7, 0, 1]
    assert [seat.device for seat in lumi] == list(range(8))
    near = {seat.device: min(cpus(seat.cpus)) for seat in frontier}
    assert {seat.device: min(cpus(seat.cpus)) for seat in lumi} == near


def test_a_machine_that_counts_threads_is_asked_for_them() -> None:
    assert "#SBATCH --cpus-per-task=32" in drafted("perlmutter", nodes=1)
    assert "#SBATCH --cpus-per-task=7" in drafted("frontier", nodes=1)


# The scripts, as reviewed


def drafted(name: str, *, nodes: int, run: str = "", tmp: Path | None = None) -> str:
    """The script of a run on a site, as ``--dry-run`` prints it but for what is this machine's."""
    folder = tmp or Path(os.environ["TMPDIR"])
    filesystems = PROFILES[name].demands.filesystems
    told = f'filesystems = ["{filesystems[1]}"]\n' if filesystems else ""
    path = folder / "run.toml"
    path.write_text(f'name = "demo"\n[resources]\nwalltime = "01:00:00"\n{told}{run}')
    options = Options(site=name, nodes=nodes, account="proj42")
    made = drafts.draft(path, options)
    at = RunDir(Path("/proj/runs/demo-3f9a"))
    plan = made.plan(at.run_id, drafts.expected_data(made))
    request = drafts.request(made, at, "001", plan)
    return drafts.script(made, at, {**request, "python": "/proj/venv/bin/python"}, plan).text


AFTER = {"pbs": 'after = ["4711.server"]\n', "slurm": 'after = ["4711"]\n'}
CASES = {
    "1-node": (1, ""),
    "many-nodes": (480, ""),
    "spares": (64, "spares"),
    "chained": (2, "after"),
    "users-lines": (2, "script"),
}
LINES = {
    "pbs": "[script]\nheader = '#PBS -m be'\nprologue = 'ulimit -n 65536'\n",
    "slurm": "[script]\nheader = '#SBATCH --mail-type=END'\nprologue = 'ulimit -n 65536'\n",
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("EXA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("EXA_SITE", raising=False)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", MACHINES)
def test_scripts_are_those_that_were_reviewed(name: str, case: str) -> None:
    nodes, more = CASES[case]
    kind = PROFILES[name].scheduler.kind
    run = {"": "", "after": AFTER[kind], "spares": "spares = 2\n", "script": LINES[kind]}[more]
    text = drafted(name, nodes=nodes, run=run)
    golden = GOLDEN / f"{name}-{case}.sh"
    if os.environ.get("EXA_WRITE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text(), "review it, then EXA_WRITE_GOLDEN=1 pytest …"


def test_no_reviewed_script_is_left_without_a_case() -> None:
    wanted = {f"{name}-{case}" for name in MACHINES for case in CASES}
    assert {path.stem for path in GOLDEN.glob("*.sh")} == wanted


# GPULab takes a request of its own form

ILABT = """
[script]
header = '''
docker.image = registry/exa:1
resources.cpuMemoryGb = 16
resources.gpuModel = A100, V100
'''
prologue = '''
# a comment
ulimit -n 4096
'''
"""


def gpulab(run: str = ILABT, nodes: int = 1) -> Any:
    PROFILES.setdefault("ilabt", load_site("ilabt", {}).profile)
    return drafted("ilabt", nodes=nodes, run=run)


def test_the_request_to_gpulab_is_the_reviewed_one_and_its_command_is_the_script() -> None:
    text = gpulab()
    golden = GOLDEN / "ilabt-1-node.json"
    if os.environ.get("EXA_WRITE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()
    asked = json.loads(text)
    assert asked["request"]["resources"]["gpuModel"] == ["A100", "V100"]
    *shell, script = asked["request"]["docker"]["command"]
    assert shell == ["/bin/bash", "-l", "-c"]
    assert 'exec /proj/venv/bin/python -m exa_cli job "$EXA_RUN_DIR"' in script


@pytest.mark.parametrize(
    ("run", "nodes", "said"),
    [
        (ILABT, 2, "in one container on one worker, not on 2 nodes"),
        ("", 1, "the site wants a value for the directive docker.image"),
        (ILABT.replace("gpuModel", "gpuModell"), 1, "no field 'resources.gpuModell'"),
        (ILABT.replace("= 16", "= lots"), 1, "must be a whole number"),
        (f'after = ["1"]{ILABT}', 1, "GPULab has no chaining"),
    ],
)
def test_what_a_request_cannot_say_is_refused(run: str, nodes: int, said: str) -> None:
    with pytest.raises(Invalid) as caught:
        gpulab(run, nodes)
    assert said in str(caught.value)
