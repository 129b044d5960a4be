"""Every profile that comes with exa holds together."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from exa_cli.base import resources
from exa_cli.schedulers import registry
from exa_cli.script.directives import DIALECTS
from exa_cli.script.job import template_of
from exa_cli.sites.load import load_site
from exa_cli.sites.schema import SiteProfile
from exa_cli.spec.document import json_schema
from exa_cli.spec.toml import load

SHIPPED = sorted(resources.folder("sites").glob("*.toml"))


def test_local_is_shipped() -> None:
    assert "local" in [path.stem for path in SHIPPED]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_it_reads_and_is_named_after_its_file(path: Path) -> None:
    assert load_site(str(path), {}).profile.site.name == path.stem


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_exa_can_write_to_its_batch_system(path: Path) -> None:
    kind = load_site(str(path), {}).profile.scheduler.kind
    assert registry.registration(kind).kind == kind
    assert kind in DIALECTS
    assert template_of(kind).text


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
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
    tables = {
        name: sorted((table.get("properties") or table["items"]["properties"]).keys())
        for name, table in schema.items()
        if name != "inherits"
    }
    common = ["as_of", "source"]
    assert tables == {
        "site": sorted(["name", "title", *common]),
        "scheduler": sorted(["kind", "kill_delay_s", "poll_s", "retry_s", "timeout_s", *common]),
        "queue": sorted(["name", "limit", *common]),
        "preemption": sorted(
            ["happens", "notice_s", "requeue", "restart_variable", "chaining", *common]
        ),
        "node": sorted(["count", "total", "ranks_per_node", "cpus", "virtual", *common]),
        "launcher": sorted(
            ["kind", "command", "rank_variable", "size_variable", "local_rank_variable", *common]
        ),
        "local_storage": sorted(["path", "wiped", *common]),
        "torch": sorted(["device", "backend", *common]),
    }
