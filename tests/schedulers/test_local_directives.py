"""A script's directives are understood whole or the script is refused."""

from __future__ import annotations

import pytest

from exa_cli.base.errors import Refused
from exa_cli.schedulers.local.directives import DEFAULT_KILL_DELAY, Demand, read

HEAD = "#!/bin/bash\n#EXA name=exa-a-001\n"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("#EXA name=a\ntrue\n", "no interpreter line"),
        ("#!/bin/bash\ntrue\n", "no #EXA name="),
        (HEAD + "#EXA wall=01:00:00\n", "no directive; there are: name, nodes, walltime"),
        (HEAD + "#EXA walltime\n", "no directive"),
        (HEAD + "#EXA walltime=90\n", "expected HH:MM:SS"),
        (HEAD + "#EXA walltime=00:90:00\n", "expected HH:MM:SS"),
        (HEAD + "#EXA walltime=00:00:00\n", "more than zero"),
        (HEAD + "#EXA nodes=0\n", "whole number from 1"),
        (HEAD + "#EXA nodes=two\n", "whole number from 1"),
        (HEAD + "#EXA kill_delay=-1\n", "expected seconds"),
        (HEAD + "#EXA kill_delay=inf\n", "expected seconds"),
        (HEAD + "#EXA name=exa-b-001\n", "name is given twice"),
        (HEAD + "true\n#EXA nodes=2\n", "after the first command"),
        ("#!/bin/bash\n#EXA name=a b\n", "none of them blank or /"),
        ("#!/bin/bash\n#EXA name=a/b\n", "none of them blank or /"),
        ("#!/bin/bash\n#EXA name=\n", "1 to 230 characters"),
    ],
)
def test_what_cannot_be_understood_is_refused_and_never_dropped(script: str, words: str) -> None:
    with pytest.raises(Refused, match=words):
        read(script)


def test_a_refusal_names_the_line() -> None:
    with pytest.raises(Refused) as caught:
        read(HEAD + "# a comment\n\n#EXA nodes=none\n")
    assert caught.value.where == "line 5 of the script"


def test_comments_and_blank_lines_do_not_end_the_head() -> None:
    script = HEAD + "\n# said by the user\n#EXA walltime=01:30:05\n#EXA nodes=3\n"
    script += "#EXA kill_delay=0.25\ntrue  #EXA nodes=4\n#EXACT=1\n"
    assert read(script) == Demand("exa-a-001", 3, 5405.0, 0.25)


def test_what_is_not_said_has_the_documented_default() -> None:
    assert read(HEAD) == Demand("exa-a-001", 1, None, DEFAULT_KILL_DELAY)
