"""What would make a job fail is found before it is submitted, all of it at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exa_cli.plan.preflight import JOB_IDS, NAMES, Check, Data, Facts, Place, preflight
from exa_cli.plan.sizes import Sizes
from exa_cli.script.quote import directive_value
from exa_cli.sites.batch import Demands
from exa_cli.sites.load import load_site
from exa_cli.sites.schema import FILL_IN, SiteProfile
from exa_cli.spec.runfile import Resources
from exa_cli.spec.toml import parse

LOCAL = load_site("local", {}).profile
DOC = parse('[resources]\nwalltime = "01:00:00"\n', "run.toml")
HERE = Place(path="/runs", there="/runs", free_bytes=10**12, free_files=10**6)
SIZES = Sizes(parameters=1, active=1, checkpoint=10**9, files=11, copies=4, state=16)


def site(kind: str = "pbs", **tables: dict[str, Any]) -> SiteProfile:
    made = replace(LOCAL, scheduler=replace(LOCAL.scheduler, kind=kind), demands=Demands())
    changes = {name: replace(getattr(made, name), **keys) for name, keys in tables.items()}
    return replace(made, **changes)


def facts(profile: SiteProfile | None = None, **changes: Any) -> Facts:
    asked = changes.pop("resources", {})
    whole = Facts(
        profile=profile or site(),
        resources=Resources(**asked),
        doc=DOC,
        tag="exa-demo-0000-001",
        stop_before_s=60,
        sizes=SIZES,
        data=Data(path="/data", prepared=True, bytes=5 * 10**9),
        run_place=HERE,
        data_place=replace(HERE, path="/data", there="/data"),
        rendered=True,
        expressible=frozenset({"after", "filesystems"}),
    )
    return replace(whole, **changes)


def found(name: str, *args: Any, **changes: Any) -> list[Check]:
    return [check for check in preflight(facts(*args, **changes)) if check.name == name]


def one(name: str, *args: Any, **changes: Any) -> Check:
    (check,) = found(name, *args, **changes)
    return check


# Faults


def test_all_faults_are_found_at_once() -> None:
    bad = facts(
        replace(
            site(demands={"filesystems": ("home",), "min_walltime": "00:05:00"}),
            directives={"A": FILL_IN},
        ),
        resources={"walltime": "00:01:00", "after": ("x y",)},
        tag="n" * 231,
        run_place=replace(HERE, free_bytes=1, free_files=1),
        data_place=replace(HERE, readable=False),
        rendered=None,
    )
    faults = [check.name for check in preflight(bad) if check.verdict == "fault"]
    assert faults == [
        *("account", "filesystems", "job name", "walltime", "after", "space", "files", "data")
    ]


@pytest.mark.parametrize(("kind", "key"), [("pbs", "A"), ("slurm", "account")])
def test_a_site_that_charges_needs_an_account(kind: str, key: str) -> None:
    charging = replace(site(kind), directives={key: FILL_IN})
    missing = one("account", charging, rendered=None)
    assert (missing.verdict, missing.hint) == ("fault", "--account NAME, or resources.account")
    assert missing.where == "run.toml:1, key resources.account"
    assert one("account", charging, resources={"account": "p1"}).says == "p1"
    # Its absence stopped the script: that is one fault, not two.
    assert found("account", charging, rendered=False) == []
    assert "header" in one("account", charging, rendered=True).says
    assert one("account", replace(charging, directives={key: "p2"})).says == "p2"
    assert found("account", replace(charging, directives={key: False})) == []
    assert found("account", site("local")) == []


def test_filesystems_are_named_and_legal_where_a_site_wants_that() -> None:
    polaris = site(demands={"filesystems": ("home", "eagle")})
    missing = one("filesystems", polaris)
    assert missing.verdict == "fault" and "there are: home, eagle" in str(missing.hint)
    checks = found("filesystems", polaris, resources={"filesystems": ("home", "eagel")})
    assert [check.verdict for check in checks] == ["ok", "fault"]
    assert checks[1].hint == "did you mean eagle?"
    assert one("filesystems", resources={"filesystems": ("home",)}).verdict == "fault"
    assert found("filesystems") == []


@pytest.mark.parametrize(
    ("kind", "tag", "verdict"),
    [
        ("pbs", "n" * 230, "ok"),
        ("pbs", "n" * 231, "fault"),
        ("pbs", "a/b", "fault"),
        ("pbs", "a,b", "fault"),
        ("slurm", "n" * 1024, "ok"),
        ("slurm", "n" * 1025, "fault"),
        ("slurm", "a/b", "fault"),
        ("slurm", "a\nb", "fault"),
        ("other", "n" * 9999, "ok"),
        ("other", "a\x07b", "fault"),
    ],
)
def test_a_jobs_name_is_what_the_batch_system_takes(kind: str, tag: str, verdict: str) -> None:
    assert one("job name", site(kind), tag=tag).verdict == verdict


def test_pbs_shows_the_first_fifteen_characters() -> None:
    assert "shown as exa-demo-0000-0 in PBS" in one("job name").says
    assert "shown" not in one("job name", site("slurm")).says


@pytest.mark.parametrize(
    ("walltime", "verdict"),
    [
        ("00:00:00", "fault"),
        ("00:04:59", "fault"),
        ("00:05:00", "ok"),
        ("999:00:00", "ok"),
    ],
)
def test_a_walltime_is_not_under_the_sites_least(walltime: str, verdict: str) -> None:
    alcf = site(demands={"min_walltime": "00:05:00"})
    assert one("walltime", alcf, resources={"walltime": walltime}).verdict == verdict


def test_a_run_that_would_stop_as_it_starts_is_warned_of() -> None:
    check = one("walltime", resources={"walltime": "00:01:00"})
    assert check.verdict == "warning" and "60 s before its end" in check.says


@pytest.mark.parametrize(
    ("kind", "job", "verdict"),
    [
        ("pbs", "180", "not checked"),
        ("pbs", "180.pbs-head", "not checked"),
        ("pbs", "178[]", "not checked"),
        ("pbs", "178[3].pbs-head", "not checked"),
        ("pbs", "afterok:180", "fault"),
        ("pbs", "last", "fault"),
        ("slurm", "12", "not checked"),
        ("slurm", "12_3", "not checked"),
        ("slurm", "12+1", "not checked"),
        ("slurm", "12.batch", "fault"),
        ("slurm", "12:13", "fault"),
        ("other", "a:b", "fault"),
        ("other", "8f2c-11", "not checked"),
    ],
)
def test_a_dependency_is_a_well_formed_id(kind: str, job: str, verdict: str) -> None:
    chained = site(kind, preemption={"chaining": True})
    assert one("after", chained, resources={"after": (job,)}).verdict == verdict


def test_a_dependency_is_refused_where_no_job_waits() -> None:
    check = one("after", LOCAL, resources={"after": ("1",)})
    assert check.verdict == "fault" and "no job can wait" in check.says


@pytest.mark.parametrize("key", ["after", "filesystems"])
def test_what_cannot_be_asked_of_the_batch_system_is_refused_not_dropped(key: str) -> None:
    profile = site(demands={"filesystems": ("1",)}, preemption={"chaining": True})
    checks = found(key, profile, resources={key: ("1",)}, expressible=frozenset())
    assert checks[-1].verdict == "fault" and "no word for it to pbs" in checks[-1].says


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"trouble": "/runs is a file"}, "/runs is a file"),
        ({"writable": False}, "/runs is not writable"),
    ],
)
def test_a_run_directory_that_cannot_be_made_is_a_fault(change: dict[str, Any], said: str) -> None:
    check = one("run directory", run_place=replace(HERE, **change))
    assert check.verdict == "fault" and said in check.says and "$EXA_RUNS" in str(check.hint)


@pytest.mark.parametrize(
    ("name", "key", "need"), [("space", "free_bytes", 4 * 10**9), ("files", "free_files", 44)]
)
def test_room_is_needed_for_the_checkpoints_kept_and_the_one_being_written(
    name: str, key: str, need: int
) -> None:
    assert one(name, run_place=replace(HERE, **{key: need})).verdict == "ok"
    short = one(name, run_place=replace(HERE, **{key: need - 1}))
    assert short.verdict == "fault" and "checkpoint.keep" in str(short.hint)


def test_data_that_does_not_fit_on_a_node_is_refused() -> None:
    small = site(local_storage={"bytes": 5 * 10**9 - 1})
    assert one("staging", small).verdict == "fault"
    assert one("staging", site(local_storage={"bytes": 5 * 10**9})).verdict == "ok"


def test_data_that_cannot_be_read_or_prepared_is_refused() -> None:
    unprepared = Data(path="/cache/x", prepared=False, bytes=None)
    locked = replace(HERE, writable=False)
    assert one("data", data_place=replace(HERE, readable=False)).verdict == "fault"
    assert one("data", data=unprepared, data_place=locked).verdict == "fault"
    assert one("data", data_place=replace(HERE, trouble="stale")).verdict == "fault"
    assert one("data", data_place=locked).verdict == "ok"
    assert "prepared at the submit" in one("data", data=unprepared).says


# Unknown is no fault, and is said


def test_free_space_that_cannot_be_told_is_a_warning() -> None:
    quota = replace(HERE, free_bytes=None, free_files=None, unseen="/runs: Disk quota exceeded")
    for name in ("space", "files"):
        check = one(name, run_place=quota)
        assert check.verdict == "warning" and "unknown: /runs: Disk quota exceeded" in check.says


def test_where_no_run_can_be_nothing_is_said_of_the_filesystem() -> None:
    nowhere = replace(HERE, trouble="/runs is a file", free_bytes=None, free_files=None)
    for name in ("space", "files"):
        check = one(name, run_place=nowhere)
        assert check.verdict == "not checked" and "no folder of runs to look at" in check.says


def test_a_filesystem_that_counts_no_files_is_not_checked_for_them() -> None:
    assert one("files", run_place=replace(HERE, free_files=None)).verdict == "not checked"


def test_what_was_not_looked_at_is_listed() -> None:
    checks = preflight(
        facts(site(local_storage={"bytes": "unknown"}), run_place=None, data_place=None)
    )
    unchecked = {check.name for check in checks if check.verdict == "not checked"}
    looked_at = {"run directory", "space", "files", "quota", "data", "staging"}
    assert unchecked == looked_at | {"account", "scheduler", "nodes"}


def test_without_a_layout_the_need_is_not_known_and_nothing_else_is_lost() -> None:
    checks = {check.name: check for check in preflight(facts(sizes=None, stop_before_s=None))}
    assert checks["space"].verdict == "not checked"
    assert checks["run directory"].verdict == "ok"


@settings(deadline=None)
@given(
    kind=st.sampled_from(["pbs", "slurm", "local"]),
    tag=st.text(max_size=40),
    job=st.text(max_size=12),
)
def test_no_name_or_id_that_is_let_through_could_break_a_script(
    kind: str, tag: str, job: str
) -> None:
    profile = site(kind, preemption={"chaining": True})
    checks = preflight(facts(profile, tag=tag, resources={"after": (job,)}))
    verdict = {check.name: check.verdict for check in checks}
    if verdict["job name"] == "ok" and kind in NAMES:
        assert tag and "/" not in tag
        assert kind != "pbs" or directive_value(tag, "name") == tag
    if verdict["after"] == "not checked" and kind in JOB_IDS:
        assert job[0].isdigit() and not set(job) & set(" :,;$`\"'\n/")
