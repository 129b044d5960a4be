"""The batch system GPULab of imec iLab.t, through its client's command ``gpulab-cli``.

Written from the client's source (imecilabt-gpulab-cli 3.11.12, imecilabt-gpulab-common 6.0.16),
whose behaviour is described here; it was never run against the service. The client is GPL-3.0:
it is a command to exa, never a library.

A job is one container on one worker. The service may halt a restartable job and queue another
that goes on with it, whose ``restartInfo`` names the first: the answer about a job is that of
the newest that continues it, and its script is the next life of the same attempt.

| module | what | touches the world |
|---|---|---|
| answers | what the client prints: jobs, states, refusals | no |
| backend | submit, find, query, cancel | processes |
"""

from exa_cli.schedulers.gpulab.backend import GpuLab

__all__ = ["GpuLab"]
