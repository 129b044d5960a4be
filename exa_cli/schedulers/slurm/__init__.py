"""The batch system Slurm, through its commands' text output.

Text with formats of our own is enough for every version from 20.11 on, and means the same in
all of them; the JSON of Slurm's commands changes its shape from release to release, and with
the controller down squeue's says "no jobs" with exit status 0.

| module | what | touches the world |
|---|---|---|
| environment | which variables the commands see | no |
| head | what of a script's ``#SBATCH`` lines exa relies on | no |
| states | Slurm's words for a job's state, and its exit codes | no |
| read | what squeue, sacct and scontrol print | no |
| outcome | what the end of sbatch and scancel means | no |
| chain | from what each source said to one answer a job | no |
| commands | run a command, with a time limit | processes |
| backend | submit, find, query, cancel, signal | all |
"""

from exa_cli.schedulers.slurm.backend import Slurm

__all__ = ["Slurm"]
