"""A launch that is wrong ends before step 1, with a message that explains it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

from train_runs import Run, environment, rank_command

LAUNCH_FAILED = 71


def alone(run: Run, **environ: str) -> subprocess.CompletedProcess[str]:
    """One rank without any mpiexec."""
    command = rank_command(run.folder / "launch.json")
    return subprocess.run(
        command, env=environment(**environ), capture_output=True, text=True, timeout=60
    )


def nothing_was_trained(run: Run) -> bool:
    return not run.events("training") and not run.metrics() and not run.committed()


def test_without_mpiexec_a_plan_for_two_ranks_does_not_start(make_run: Callable[..., Run]) -> None:
    run = make_run()
    run.begin_life()
    ended = alone(run)
    assert ended.returncode == LAUNCH_FAILED
    assert "the plan wants 2 ranks, but 1 run" in ended.stderr
    assert "mpiexec -n 2" in ended.stderr
    assert run.error()["cause"] == "launch-failed"
    assert nothing_was_trained(run)


def test_a_foreign_launcher_is_found_out_by_every_rank(make_run: Callable[..., Run]) -> None:
    """What a wrong MPI looks like: the launcher counts two, MPI_COMM_WORLD one, twice."""
    run = make_run()
    run.begin_life()
    for rank in ("0", "1"):
        ended = alone(run, OMPI_COMM_WORLD_RANK=rank, OMPI_COMM_WORLD_SIZE="2")
        assert ended.returncode == LAUNCH_FAILED
        assert "Open MPI started 2 ranks, but MPI_COMM_WORLD holds 1" in ended.stderr
        assert "MPI4PY_LIBMPI" in ended.stderr
        assert run.error(int(rank))["cause"] == "launch-failed"
    assert nothing_was_trained(run)


def test_a_world_of_another_size_than_the_plans_stops_on_all_ranks(
    make_run: Callable[..., Run],
) -> None:
    run = make_run(world=4)
    assert run.start(ranks=2).wait() == LAUNCH_FAILED
    for rank in (0, 1):
        assert "the plan wants 4 ranks, but 2 run" in run.error(rank)["what"]
        assert run.error(rank)["step"] is None
    assert nothing_was_trained(run)


def test_a_launch_record_for_another_world_is_refused(make_run: Callable[..., Run]) -> None:
    run = make_run(world=1)
    launch = run.begin_life(listed=2)
    assert run.start(launch, ranks=1).wait() == LAUNCH_FAILED
    assert "launch.json lists 2 ranks" in run.error()["what"]


def test_data_of_another_plan_is_refused(make_run: Callable[..., Run]) -> None:
    run = make_run(world=1)
    plan = json.loads((run.path / "plan.json").read_text())
    plan["data"]["data_id"] = "0" * 16
    (run.path / "plan.json").write_text(json.dumps(plan))
    assert run.start().wait() == LAUNCH_FAILED
    assert "the plan was made for 0000000000000000" in run.error()["what"]
    assert nothing_was_trained(run)


def test_a_failure_of_one_rank_ends_all_and_names_it(make_run: Callable[..., Run]) -> None:
    """Rank 1's data is missing; rank 0 would wait for it at the rendezvous for ever."""
    run = make_run()
    launch = run.begin_life()
    record = json.loads(launch.read_text())
    record["ranks"][1]["data_dir"] = str(run.path / "nowhere")
    launch.write_text(json.dumps(record))
    assert run.start(launch).wait() == 1
    assert "nowhere" in json.dumps(run.error(1))
    assert nothing_was_trained(run)
