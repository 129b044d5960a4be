"""A job in whose place another one has been accepted: it ends itself.

A qsub or sbatch that was killed or timed out can still create its job minutes later (recordings:
openpbs/INDEX). By then exa may have submitted again under the same name, and that job is in the
journal. Or a batch system starts a preempted job again by itself, after its user has resumed the
run in another. Of the two, the one accepted last runs; the other one ends before it claims an
epoch, so that the accepted job's checkpoints stay the ones that count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from exa_cli.runs.journal import Event
from exa_cli.runs.state import place
from exa_cli.schedulers.inside import OWN_ID
from exa_cli.schedulers.submission import number


def accepted_instead(
    events: Iterable[Event], attempt: str, environ: Mapping[str, str]
) -> str | None:
    """The accepted job whose place this process has no right to; None when it may run. Pure.

    A job that is queued ahead, to wait for this one's end, took no place until it began.

    | a later attempt's accepted jobs | this attempt's | this job |
    |---|---|---|
    | others | – | ends: the run has gone on without it |
    | none, or it is the last | it is one of them | runs |
    | none | others | ends: its submission was taken for lost, and made again |
    | none | none | runs: exa died, or could not write, before it knew the id |

    A job that does not know its own id is taken for its attempt's: nothing is ended on a guess.
    """
    events = list(events)
    begun = {where[0] for event in events if (where := place(event))}
    accepted = [e for e in events if e.kind == "accepted" and e.fields.get("scheduler") in OWN_ID]
    accepted = [e for e in accepted if not e.fields.get("ahead") or e.fields["attempt"] in begun]
    mine = [e for e in accepted if e.fields["attempt"] == attempt]
    later = [e for e in accepted if e.fields["attempt"] > attempt]
    newest = max(later, key=lambda event: str(event.fields["attempt"]), default=None)
    if newest and not _is_this(newest, environ):
        return str(newest.fields["job_id"])
    if newest or any(_is_this(event, environ) is not False for event in mine):
        return None
    return str(mine[-1].fields["job_id"]) if mine else None


def _is_this(event: Event, environ: Mapping[str, str]) -> bool | None:
    """Whether an accepted job is this one; None = unknown. Ids are compared by their number:
    servers print them with and without their own name."""
    here = number(environ.get(OWN_ID[event.fields["scheduler"]], ""))
    there = number(str(event.fields["job_id"]))
    return None if -1 in (here, there) else here == there
