"""The batch systems OpenPBS and PBS Professional, through their commands' text output.

``qstat -f`` in its default format tells every client's and server's version the same. Its JSON
does not: of several ids one client prints the first only, and another prints invalid JSON for
some names and values (recordings: openpbs/19).

| module | what | touches the world |
|---|---|---|
| environment | which variables the commands see | no |
| head | what of a script's ``#PBS`` lines exa relies on | no |
| read | what qstat and qselect print | no |
| states | PBS's letters, substates and exit statuses | no |
| outcome | what the end of qsub, qdel and qstat means | no |
| commands | run a command, with a time limit | processes |
| backend | submit, find, query, cancel, signal | all |
"""

from exa_cli.schedulers.pbs.backend import Pbs

__all__ = ["Pbs"]
