"""Directives keep their order and origin, and are never doubled or dropped."""

from __future__ import annotations

import pytest

from exa_cli.base.errors import Invalid
from exa_cli.script.ask import Ask, Value, directives_of
from exa_cli.script.directives import Directive, Line, directives


def test_every_fault_is_reported_at_once() -> None:
    with pytest.raises(Invalid) as caught:
        directives(
            [
                Directive("name", "a", "run file"),
                Directive("name", "b", "--set"),
                Directive("walltime", "1\n2", "profile"),
            ]
        )
    said = str(caught.value)
    assert "the directive name is given twice" in said
    assert "run file and --set" in said
    assert "the directive walltime holds a control character" in said


def test_a_batch_system_without_a_dialect_is_refused() -> None:
    made = directives([Directive("name", "a", "here")])
    with pytest.raises(Invalid, match="no directives can be written"):
        made.lines("pbz")


def test_a_key_that_would_break_the_line_is_refused() -> None:
    made = directives([Directive("na me=x", "a", "here")])
    with pytest.raises(Invalid, match="cannot be the key"):
        made.lines("local")


def test_order_and_origin_are_kept() -> None:
    made = directives([Directive("b", "2", "two"), Directive("a", "1", "one")])
    assert made.lines("local") == (Line("#EXA b=2", "two"), Line("#EXA a=1", "one"))
    assert made.pairs() == (("b", "2"), ("a", "1"))


def ask(**more: Value) -> Ask:
    return Ask(
        name=Value("exa-a-001", "the tag"),
        nodes=Value("2", "the site"),
        walltime=Value("01:00:00", "run.toml:3"),
        kill_delay=Value("10", "the site"),
        **more,
    )


def test_what_a_batch_system_cannot_express_is_refused() -> None:
    with pytest.raises(Invalid, match="no accounts") as caught:
        directives_of("local", ask(account=Value("m1234", "--account")))
    assert caught.value.where == "--account"


def test_a_demand_of_the_local_batch_system_is_what_its_reader_reads() -> None:
    from exa_cli.schedulers.local.directives import Demand, read

    lines = directives_of("local", ask()).lines("local")
    script = "\n".join(["#!/bin/bash", *(line.text for line in lines)])
    assert read(script) == Demand("exa-a-001", 2, 3600.0, 10.0)
