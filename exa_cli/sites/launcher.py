"""A launcher's grammar: the words of its command line, with places for values.

``{name}`` in a word stands for that value; everything else stands as it is. So a new launcher
is a line in a profile, not code. The program and its arguments follow at the end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from exa_cli.base.errors import Invalid

PLACES = ("ranks", "nodes", "ranks_per_node", "cpus_per_rank", "hostfile")

_PLACE = re.compile(r"\{([a-z_]+)\}")


def wrong_with(grammar: Sequence[str]) -> str | None:
    """What is wrong with a grammar, in words; None when it is legal."""
    if not grammar or not grammar[0] or grammar[0].startswith("-"):
        return "the first word must be the launcher's program"
    names = [name for part in grammar for name in _PLACE.findall(part)]
    unknown = [name for name in names if name not in PLACES]
    if unknown:
        return f"{{{unknown[0]}}} is not known; there are: " + ", ".join(PLACES)
    return None if "ranks" in names else "it must say how many ranks: {ranks}"


def fill(grammar: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """The words of the command. Raises Invalid when it asks for a value that is not given."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise Invalid(
                f"the launcher asks for {match[1]}, which is not known here",
                where="launcher.command in the site's profile",
            )
        return values[match[1]]

    return [_PLACE.sub(value, part) for part in grammar]
