"""What launchers print when ranks end badly, as recorded."""

import pytest

from exa_cli.job import words

KILLED = """\
srun: error: node02: task 0: Killed
srun: Force Terminated StepId=48.0
"""
ONE_OF_TWO = """\
srun: error: node01: task 1: Exited with exit code 7
srun: launch/slurm: _step_signal: Terminating StepId=55.0
slurmstepd-node01: error: *** STEP 55.0 ON node01 CANCELLED AT 2026-11-22T09:29:40 ***
srun: error: node01: task 0: Terminated
srun: Force Terminated StepId=55.0
"""
MEMORY = """\
srun: error: node01: task 0: Out Of Memory
slurmstepd-node01: error: Detected 1 oom-kill event(s) in StepId=58.0.
"""
MPICH = "=   EXIT CODE: 9\nYOUR APPLICATION TERMINATED WITH THE EXIT STRING: Killed (signal 9)\n"
# Open MPI 4.1 on one line; 5.0.11, as it printed them here.
OPEN_MPI_4 = (
    "mpirun noticed that process rank 1 with PID 0 on node n2 exited on signal 11 "
    "(Segmentation fault).\n"
)
RULE = "-" * 74 + "\n"
OPEN_MPI_5 = f"""\
{RULE}MPI_ABORT was invoked on rank 0 in communicator MPI_COMM_WORLD
  Proc: [[13778,1],0]
  Errorcode: 1
{RULE}{RULE}prterun noticed that process rank 1 with PID 10324 on node vm exited on
signal 9 (Killed).
{RULE}"""
OPEN_MPI_5_EXIT = f"""\
{RULE}prterun detected that one or more processes exited with non-zero status,
thus causing the job to be terminated. The first process to do so was:

   Process name: [prterun-vm-13956@1,1]
   Exit code:    3
{RULE}"""
SEGMENT = "srun: error: n1: tasks 2-3,5: Segmentation fault (core dumped)\n"


@pytest.mark.parametrize(
    ("text", "signal", "task", "memory"),
    [
        ("", None, None, False),
        (KILLED, 9, 0, False),
        (ONE_OF_TWO, None, 1, False),
        (MEMORY, None, 0, True),
        (MPICH, 9, None, False),
        (OPEN_MPI_4, 11, 1, False),
        (OPEN_MPI_5, 9, 1, False),
        (OPEN_MPI_5_EXIT, None, 1, False),
        (SEGMENT, 11, 2, False),
    ],
)
def test_the_first_end_that_the_launcher_names_counts(text, signal, task, memory):
    assert words.rank_signal(text) == signal
    assert words.failed_task(text) == task
    assert words.killed_for_memory(text) is memory


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (OPEN_MPI_5, "process rank 1 with PID 10324 on node vm exited on signal 9 (Killed)."),
        (OPEN_MPI_5_EXIT, "Process name: [prterun-vm-13956@1,1] Exit code: 3"),
    ],
)
def test_a_sentence_broken_into_lines_is_told_whole(text, told):
    assert told in words.launcher_words(text)


def test_the_telling_lines_are_kept_and_no_line_twice(tmp_path):
    path = tmp_path / "launcher.log"
    path.write_text("training\n" + KILLED + KILLED)
    assert words.launcher_words(words.read(path)) == "srun: error: node02: task 0: Killed"
    assert words.read(tmp_path / "none") == ""
