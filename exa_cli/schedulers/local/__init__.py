"""The batch system of one machine: an embedded batch runner.

It is no scheduler. Each job starts at once under a runner of its own, a small detached
process that does what the daemon of a batch system does on a node: start the script outside
the terminal, hold it to its walltime, SIGTERM, kill delay, SIGKILL, sweep what is left,
and write down how it ended. So everything that happens to a run on a cluster happens here.

| module | what | touches the world |
|---|---|---|
| directives | the ``#EXA`` lines of a script | no |
| watch | when a job is terminated and killed | no |
| facts | what the files and the process table say together | no |
| spool | the files of the jobs | files |
| processes | the processes of a job | processes |
| start | the script's process, at a gate until it is on record | processes |
| runner | the detached process of one job | all |
| backend | submit, find, query, cancel, signal, recover | all |
"""

from exa_cli.schedulers.local.backend import Local

__all__ = ["Local"]
