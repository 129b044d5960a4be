"""A job that its batch system made late, beside the one it had accepted: it ends itself.

A qsub or sbatch that was killed or timed out can still create its job minutes later (recordings:
openpbs/INDEX). By then exa may have submitted again under the same name, and that job is in the
journal. Of the two, the one in the journal runs; the other one ends before it claims an epoch,
so the accepted job's checkpoints stay the ones that count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from exa_cli.runs.journal import Event
from exa_cli.schedulers.inside import OWN_ID
from exa_cli.schedulers.submission import number


def accepted_instead(
    events: Iterable[Event], attempt: str, environ: Mapping[str, str]
) -> str | None:
    """The accepted job whose place this process has no right to; None when it may run. Pure.

    | this attempt's accepted jobs | a later attempt's | this job |
    |---|---|---|
    | it is one of them | – | runs: its id was given to a user |
    | others | – | ends |
    | none | some | ends: an earlier try, which everybody had given up |
    | none | none | runs: exa died, or could not write, before it knew the id |

    A job that does not know its own id runs: nothing is ended on a guess.
    """
    accepted = [e for e in events if e.kind == "accepted" and e.fields.get("scheduler") in OWN_ID]
    mine = [e for e in accepted if e.fields["attempt"] == attempt]
    later = [e for e in accepted if e.fields["attempt"] > attempt]
    if any(_is_this(event, environ) is not False for event in mine):
        return None
    return next((str(e.fields["job_id"]) for e in (*mine[-1:], *later[-1:])), None)


def _is_this(event: Event, environ: Mapping[str, str]) -> bool | None:
    """Whether an accepted job is this one; None = unknown. Ids are compared by their number:
    servers print them with and without their own name."""
    here = number(environ.get(OWN_ID[event.fields["scheduler"]], ""))
    there = number(str(event.fields["job_id"]))
    return None if -1 in (here, there) else here == there
