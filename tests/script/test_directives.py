"""Directives keep order and origin; layers replace each other by key, and nothing is dropped."""

from __future__ import annotations

from dataclasses import replace

import pytest

from exa_cli.base.errors import Invalid
from exa_cli.script.ask import Ask, Value
from exa_cli.script.dialects import DIALECTS, dialect_of
from exa_cli.script.directives import Directive, Line, combine, commands
from exa_cli.script.local import LOCAL
from exa_cli.script.slurm import SLURM

ASK = Ask(
    name=Value("exa-a-001", "the tag"),
    nodes=Value("2", "the site"),
    walltime=Value("01:00:00", "run.toml:3"),
    workdir=Value("/runs/a", "the run"),
    folder=Value("/runs/a/attempts/001", "the attempt"),
    ranks_per_node=Value("4", "the plan"),
    kill_delay=Value("10", "the site"),
)


def slurm(*site: Directive, header: tuple[str, ...] = (), **asked: Value) -> list[str]:
    lines = tuple(Line(text, f"header {n}") for n, text in enumerate(header, start=1))
    made = combine(SLURM, replace(ASK, **asked), site, lines)
    return [line.text.removeprefix("#SBATCH ") for line in made.lines()]


def refusal(*site: Directive, header: tuple[str, ...] = (), **asked: Value) -> Invalid:
    with pytest.raises(Invalid) as caught:
        slurm(*site, header=header, **asked)
    return caught.value


def test_a_batch_system_without_a_dialect_is_refused() -> None:
    with pytest.raises(Invalid, match="no directives can be written for"):
        dialect_of("pbz")


def test_every_fault_is_reported_at_once() -> None:
    said = str(
        refusal(
            Directive("constraint", "a", "profile:1"),
            Directive("constraint", "b", "profile:2"),
            Directive("comment", "1\n2", "profile:3"),
            Directive("job-name", "x", "profile:4"),
            Directive("licenses", "fill in", "profile:5"),
            header=("#PBS -l select=1",),
        )
    )
    for part in (
        "the directive constraint is given twice\n    at: profile:1 and profile:2",
        "the directive comment holds a control character",
        "the directive job-name is set by exa itself\n    at: profile:4",
        "the site wants a value for the directive licenses, and there is none\n    at: profile:5",
        "Slurm would not read this line of the header: '#PBS -l select=1'\n    at: header 1",
    ):
        assert part in said


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("--mail-type=END",), "would not read this line"),
        (("# a comment",), "would not read this line"),
        (("#SBATCH",), "would not read this line"),
        (("#SBATCH ",), "not one option"),
        (("#SBATCH # nothing",), "not one option"),
        (("#SBATCH -p a -q b",), "not one option"),
        (("#SBATCH --hold",), "hold is set by exa itself"),
        (("#SBATCH script.sh",), "not one option"),
        (("#SBATCH --comment='a",), "No closing quotation"),
        (("#SBATCH -J mine",), "job-name is set by exa itself"),
        (("#SBATCH --nodes 4",), "nodes is set by exa itself"),
        (("#SBATCH -t10",), "time is set by exa itself"),
        (("#SBATCH -a 1-4",), "array is set by exa itself"),
        (("#SBATCH --job=mine",), "abbreviates an option"),
        (("#SBATCH -C a", "#SBATCH --constraint=b"), "constraint is given twice"),
        (("#SBATCH --requeue", "#SBATCH --no-requeue"), "given twice"),
    ],
)
def test_a_header_line_that_slurm_or_exa_could_not_keep_is_refused(
    lines: tuple[str, ...], words: str
) -> None:
    assert words in str(refusal(header=lines))


@pytest.mark.parametrize("seconds", ["0", "-1", "65536"])
def test_a_notice_that_slurm_cannot_give_is_refused(seconds: str) -> None:
    assert "cannot give notice" in refusal(notice_s=Value(seconds, "plan")).what


def test_a_directory_that_would_switch_off_the_job_id_is_refused() -> None:
    error = refusal(folder=Value("/a\\b", "the attempt"))
    assert "backslash" in error.what
    assert error.where == "the attempt"


def test_a_percent_sign_of_a_directory_is_not_a_pattern() -> None:
    made = slurm(folder=Value("/100%u", "the attempt"))
    assert "--output=/100%%u/slurm-%j.out" in made


def test_what_the_local_batch_system_cannot_express_is_refused() -> None:
    for asked in ("account", "qos", "after"):
        with pytest.raises(Invalid, match="the site's batch system has no") as caught:
            combine(LOCAL, replace(ASK, **{asked: Value("m1234", "--option")}))
        assert caught.value.where == "--option"


@pytest.mark.parametrize("item", [Directive("na me=x", "a", "here"), Directive("hold", True, "h")])
def test_a_directive_the_local_batch_system_cannot_have_is_refused(item: Directive) -> None:
    with pytest.raises(Invalid, match="cannot be a directive"):
        combine(LOCAL, ASK, [item]).lines()


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
def test_a_directive_among_commands_is_refused_not_passed_over(dialect) -> None:
    late = (Line("echo", "a"), Line(f"  {dialect.prefix}key=value", "run.toml:9, line 2"))
    with pytest.raises(Invalid, match="among commands") as caught:
        commands(dialect, late)
    assert caught.value.where == "run.toml:9, line 2"
    assert commands(dialect, late[:1]) == late[:1]


def test_later_layers_replace_earlier_ones_in_place() -> None:
    site = [
        Directive("account", "site", "profile"),
        Directive("export", "ALL", "profile"),
        Directive("no-requeue", False, "profile"),
        Directive("exclusive", True, "profile"),
    ]
    plain = slurm()
    made = slurm(*site, header=("#SBATCH -o x.out # mine",), account=Value("me", "--account"))
    assert [line for line in made if line in plain] == [*plain[:5], "--open-mode=append"]
    assert made[5:] == [
        "-o x.out # mine", "--open-mode=append", "--export=ALL", "--account=me", "--exclusive",
    ]  # fmt: skip


def test_a_flag_of_the_user_replaces_its_opposite() -> None:
    assert "--no-requeue" in slurm()
    made = slurm(header=("#SBATCH --requeue",))
    assert "--requeue" in made
    assert "--no-requeue" not in made


def test_the_sites_wish_decides_about_requeue() -> None:
    assert "--requeue" in slurm(requeue=Value("yes", "profile"))
    assert "--no-requeue" in slurm(requeue=Value("no", "profile"))


def test_a_job_that_waits_for_another_waits_for_its_end_good_or_bad() -> None:
    assert "--dependency=afterany:17" in slurm(after=Value("17", "the chain"))


def test_a_line_of_the_user_is_kept_as_it_stands() -> None:
    line = '#SBATCH  --comment="a # b"   # why'
    made = combine(SLURM, ASK, (), (Line(line, "run.toml:9, line 1"),))
    assert made.lines()[-1] == Line(line, "run.toml:9, line 1")
    assert made.pairs()[-1] == ("comment", "a # b")


def test_order_and_origin_are_kept() -> None:
    made = combine(LOCAL, ASK)
    assert made.lines()[:2] == (
        Line("#EXA name=exa-a-001", "the tag"),
        Line("#EXA nodes=2", "the site"),
    )
    assert dict(made.pairs())["walltime"] == "01:00:00"


def test_a_demand_of_the_local_batch_system_is_what_its_reader_reads() -> None:
    from exa_cli.schedulers.local.directives import Demand, read

    script = "\n".join(["#!/bin/bash", *(line.text for line in combine(LOCAL, ASK).lines())])
    assert read(script) == Demand("exa-a-001", 2, 3600.0, 10.0)
