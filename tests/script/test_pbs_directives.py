"""What a job asks of PBS: once each, in PBS's words, or refused with the reason."""

from __future__ import annotations

from dataclasses import replace

import pytest

from exa_cli.base.errors import Invalid
from exa_cli.script.ask import Ask, Value
from exa_cli.script.directives import Directive, Line, combine, commands
from exa_cli.script.pbs import PBS

ASK = Ask(
    name=Value("exa-a-001", "the tag"),
    nodes=Value("2", "the site"),
    walltime=Value("01:00:00", "run.toml:3"),
    workdir=Value("/runs/a", "the run"),
    folder=Value("/runs/a/attempts/001", "the attempt"),
    ranks_per_node=Value("4", "the plan"),
    notice_s=Value("300", "the plan"),
)


def made(*site: Directive, header: tuple[str, ...] = (), **asked: Value) -> dict[str, str]:
    """Lines without their prefix → origins."""
    lines = tuple(Line(text, f"header {n}") for n, text in enumerate(header, start=1))
    written = combine(PBS, replace(ASK, **asked), site, lines).lines()
    return {line.text.removeprefix("#PBS "): line.origin for line in written}


def refusal(*site: Directive, header: tuple[str, ...] = (), **asked: Value) -> str:
    with pytest.raises(Invalid) as caught:
        made(*site, header=header, **asked)
    return str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [("N", "x"), ("select", "9"), ("walltime", "9"), ("ncpus", "2"), ("J", "0-9"), ("v", "A=1")],
)
def test_what_exa_relies_on_cannot_be_replaced_by_a_profile_or_a_header(key, value):
    assert f"the directive {key} is set by exa itself" in refusal(Directive(key, value, "p:1"))
    line = f"#PBS -{key} {value}" if len(key) == 1 else f"#PBS -l {key}={value}"
    assert f"the directive {key} is set by exa itself" in refusal(header=(line,))


@pytest.mark.parametrize(
    "line",
    [
        "#PBS -N two -A acct",  # PBS takes it, but then nobody sees what replaces what
        "#PBS -l select=1 # a comment",  # refused by qsub (recordings: openpbs/13)
        "#PBS -A a \\",  # would take the next line along
        "#PBS -l mem=1gb,walltime=2:00",
        "#PBS -W depend=afterok:1,block=true",
        "#PBS -l",
        "#PBS",
        "#PBS-A x",
        "#SBATCH --nodes=2",
        "module load x",
        "#PBS -A 'open",
    ],
)
def test_a_line_that_is_not_one_option_is_refused(line):
    said = refusal(header=(line,))
    assert "header 1" in said and "hint" in said


def test_users_lines_are_kept_as_they_stand_and_replace_what_has_their_key():
    found = made(
        Directive("place", "scatter:excl", "profile:1"),
        Directive("A", "theirs", "profile:2"),
        header=("#PBS -l place=scatter:group=rack", '#PBS -A "my project"', "#PBS -m be"),
    )
    kept = ["-l place=scatter:group=rack", '-A "my project"', "-m be"]
    assert [found.get(line) for line in kept] == ["header 1", "header 2", "header 3"]
    assert sum(line.startswith(("-l place", "-A")) for line in found) == 2


def test_what_a_chunk_has_is_joined_to_the_number_of_chunks_with_every_origin():
    found = made(
        Directive(":system", "polaris", "profile:3"),
        Directive(":mpiprocs", False, "profile:4"),
        cpus_per_rank=Value("8", "profile:5"),
        gpus_per_node=Value("4", "profile:6"),
    )
    origin = found["-l select=2:ncpus=32:ngpus=4:system=polaris"]
    assert origin == "the site; profile:5, the plan; profile:6; profile:3"
    assert "-l select=2:mpiprocs=4" in made()


def test_a_chunk_value_that_would_begin_another_resource_is_refused():
    assert "cannot be a value in a select" in refusal(Directive(":host", "a:ncpus=9", "p:1"))
    assert "cannot be a value in a select" in refusal(Directive(":host", "a+2", "p:1"))


def test_a_job_waits_for_the_end_of_others_whatever_it_was():
    assert "-W depend=afterany:12.pbs:13" in made(after=Value("12.pbs:13", "run.toml:4"))


def test_a_job_comes_back_only_where_the_site_says_so():
    assert "-r n" in made()
    assert "-r y" in made(requeue=Value("yes", "profile:9"))


def test_what_pbs_cannot_express_is_refused():
    assert "PBS has no QOS" in refusal(qos=Value("high", "run.toml:1"))
    assert "with a colon" in refusal(folder=Value("/a:b", "the attempt"))
    assert "may read as something else" in refusal(folder=Value("/a$b", "the attempt"))
    assert "wants a value" in refusal(Directive("A", True, "p:1"))
    assert "cannot be a directive of PBS" in refusal(Directive("A b", "x", "p:1"))


def test_output_goes_to_the_attempt_and_a_site_may_say_otherwise():
    assert "-o /runs/a/attempts/001/" in made()
    assert '-o "/my runs/001/"' in made(folder=Value("/my runs/001", "the attempt"))
    assert not [line for line in made(Directive("k", False, "p:1")) if line.startswith("-k")]


def test_a_directive_among_commands_would_be_passed_over_and_is_refused():
    with pytest.raises(Invalid, match="among commands"):
        commands(PBS, (Line("  #PBS -A late", "run.toml:9"),))
