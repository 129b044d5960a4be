"""Of two jobs of one name, the one in the journal runs, and nothing is ended on a guess."""

from __future__ import annotations

import pytest

from exa_cli.job.twin import accepted_instead
from exa_cli.runs.journal import Event


def accepted(attempt: str, job_id: str, scheduler: str = "pbs", **more: bool) -> Event:
    fields = {"attempt": attempt, "job_id": job_id, "scheduler": scheduler, **more}
    return Event(0.0, "login-aaaa", 0, "accepted", fields)


MINE, LINK = accepted("001", "7"), accepted("002", "8", ahead=True)
LINK_BEGAN = Event(1.0, "job-002-1-bbbb", 0, "life", {})


@pytest.mark.parametrize(
    ("events", "environ", "instead"),
    [
        ([], {"PBS_JOBID": "7.hill"}, None),
        ([accepted("001", "7.hill")], {"PBS_JOBID": "7.hill"}, None),
        ([accepted("001", "7")], {"PBS_JOBID": "7.hill"}, None),
        ([accepted("001", "7.hill")], {"PBS_JOBID": "6.hill"}, "7.hill"),
        ([accepted("001", "7.hill")], {"PBS_JOBID": "8.hill"}, "7.hill"),
        ([accepted("001", "7.hill")], {}, None),
        ([accepted("001", "?")], {"PBS_JOBID": "8.hill"}, None),
        ([accepted("001", "6"), accepted("001", "7")], {"PBS_JOBID": "6"}, None),
        ([accepted("002", "7")], {"PBS_JOBID": "6"}, "7"),
        ([accepted("001", "7"), accepted("002", "8")], {"PBS_JOBID": "7"}, "8"),
        ([accepted("001", "7"), accepted("002", "8")], {}, "8"),
        ([accepted("001", "7"), accepted("002", "7")], {"PBS_JOBID": "7"}, None),
        ([accepted("002", "8"), accepted("003", "9")], {"PBS_JOBID": "7"}, "9"),
        ([accepted("000", "5")], {"PBS_JOBID": "6"}, None),
        ([MINE, LINK], {"PBS_JOBID": "7"}, None),
        ([MINE, LINK, LINK_BEGAN], {"PBS_JOBID": "7"}, "8"),
        ([accepted("001", "7;cl", "slurm")], {"SLURM_JOB_ID": "7", "PBS_JOBID": "1"}, None),
        ([accepted("001", "7", "slurm")], {"SLURM_JOB_ID": "8"}, "7"),
        ([accepted("001", "7.here", "local")], {"SLURM_JOB_ID": "8"}, None),
    ],
)
def test_the_accepted_job_runs_and_a_late_twin_ends(events, environ, instead):
    assert accepted_instead(events, "001", environ) == instead
