"""Every profile that comes with exa holds together."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from exa_cli.base import resources
from exa_cli.base.errors import Invalid
from exa_cli.schedulers import registry
from exa_cli.script.dialects import DIALECTS
from exa_cli.script.job import template_of
from exa_cli.sites.load import load_site
from exa_cli.sites.schema import SiteProfile, fill_ins
from exa_cli.spec.document import json_schema
from exa_cli.spec.toml import load

FILLED = """
inherits = "slurm"
[directives]
account = false
[node]
ranks_per_node = 4
cpus = 64
gpus = 4
[launcher]
options = ["--mpi=pmix"]
[torch]
device = "cuda"
backend = "nccl"
"""

SHIPPED = sorted(resources.folder("sites").glob("*.toml"))
STARTERS = [path for path in SHIPPED if fill_ins(load(path).values)]
WHOLE = [path for path in SHIPPED if path not in STARTERS]


def test_local_works_as_it_stands_and_slurm_after_filling_it_in() -> None:
    assert "local" in [path.stem for path in WHOLE]
    assert [path.stem for path in STARTERS] == ["pbs", "slurm"]


def test_a_starter_that_is_not_filled_in_names_every_key_at_once() -> None:
    with pytest.raises(Invalid) as caught:
        load_site("slurm", {})
    for key in ("ranks_per_node", "cpus", "gpus", "options", "device", "backend"):
        assert f"{key} is to be filled in" in str(caught.value)
    assert str(caught.value).startswith("6 faults:")


def test_a_starter_works_after_filling_it_in(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(FILLED)
    profile = load_site(str(tmp_path / "mine.toml"), {}).profile
    assert (profile.site.name, profile.node.cpus, profile.node.gpus) == ("mine", 64, 4)
    assert profile.launcher.command[0] == "srun"
    assert profile.launcher.rank_variable == "SLURM_PROCID"
    assert profile.directives == {"account": False, "exclusive": True}


@pytest.mark.parametrize("path", WHOLE, ids=lambda p: p.stem)
def test_it_reads_and_is_named_after_its_file(path: Path) -> None:
    assert load_site(str(path), {}).profile.site.name == path.stem


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_exa_can_write_to_its_batch_system(path: Path) -> None:
    kind = load(path).values["scheduler"]["kind"]
    assert registry.registration(kind).kind == kind
    assert kind in DIALECTS
    assert template_of(kind).text


@pytest.mark.parametrize("path", WHOLE, ids=lambda p: p.stem)
def test_it_fits_the_schema_editors_use(path: Path) -> None:
    schema = json_schema(SiteProfile)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(load(path).values, schema)
    json.dumps(schema)


def test_the_schema_refuses_what_exa_refuses() -> None:
    values = load(resources.folder("sites") / "local.toml").values
    values["node"]["count"] = 0
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values, json_schema(SiteProfile))


def test_the_keys_of_a_profile_are_those_users_rely_on() -> None:
    """A change of this list is a change of what sites have written: say so in the docs."""
    schema = json_schema(SiteProfile)["properties"]
    assert schema.pop("inherits")["type"] == "string"
    assert schema.pop("directives")["additionalProperties"] == {
        "anyOf": [{"type": "string"}, {"type": "boolean"}]
    }
    tables = {
        name: sorted((table.get("properties") or table["items"]["properties"]).keys())
        for name, table in schema.items()
    }
    common = ["as_of", "source"]
    assert tables == {
        "site": sorted(["environment", "hosts", "name", "title", *common]),
        "scheduler": sorted(
            ["kind", "cpu_is", "kill_delay_s", "poll_s", "retry_s", "timeout_s", *common]
        ),
        "queue": sorted(
            [
                *("name", "partition", "qos", "limit", "routes", "within", "debug"),
                *("preemptable", "by_request", "whole_node", "max_jobs_per_user", *common),
            ]
        ),
        "demands": sorted(["filesystems", "min_walltime", *common]),
        "preemption": sorted(
            ["happens", "notice_s", "requeue", "restart_variable", "chaining",
             "submit_from_job", *common]
        ),
        "policy": sorted(["on", "resubmit", *common]),
        "node": sorted(
            [
                *("model", "count", "total", "hostnames", "ranks_per_node", "cpus", "sockets"),
                *("threads_per_core", "smt_offset", "reserved", "memory_bytes", "gpus", "virtual"),
                *("numa", "nic", *common),
            ]
        ),
        "device": sorted(["index", "module", "numa", "nic", *common]),
        "accelerator": sorted(
            [
                *("name", "memory_bytes", "memory_bytes_per_s", "select", "mode", "peak", "link"),
                *common,
            ]
        ),
        "binding": sorted(
            ["name", "use", "default", "permutes", "published", "rank", *common]
        ),
        "topology": sorted(["name", "nodes", "count", "within", "resource", "values", *common]),
        "launcher": sorted(
            [
                "kind", "command", "options", "agents", "rank_variable", "size_variable",
                "local_rank_variable", "bound", *common,
            ]
        ),
        "modules": sorted(["purge", "use", "load", "on_login", *common]),
        "env": sorted(
            ["name", "default", "min_nodes", "max_nodes", "variables", "prepend", *common]
        ),
        "rendezvous": sorted(["interface", *common]),
        "local_storage": sorted(["path", "wiped", "bytes", *common]),
        "filesystems": sorted(
            [
                *("name", "path", "kind", "quota_bytes", "quota_files", "purged_days", "backup"),
                *("bytes_per_s", "jobs", "note", *common),
            ]
        ),
        "staging": sorted(["broadcast", "imports", *common]),
        "container": sorted(
            ["command", "bind", "binds", "image", "python", "needed", "note", *common]
        ),
        "failures": sorted(
            [
                *("node_patterns", "not_the_node", "spares", "hang_floor_s"),
                *("between_s", "node_requeue_s"),
                *common,
            ]
        ),
        "torch": sorted(["device", "backend", "version", "older", "traps", *common]),
    }  # fmt: skip
