"""The variables that mark the processes of a run, wherever they run."""

from __future__ import annotations

RUN_DIR = "EXA_RUN_DIR"
"""The run's directory."""

TAG = "EXA_TAG"
"""The attempt's tag. A sweep ends what carries it, and nothing else."""

JOB_ID = "EXA_JOB_ID"
"""The batch system's id of the job: tells a late twin's processes from its sibling's."""

ALL = (RUN_DIR, TAG, JOB_ID)
