"""SIGKILL at any point of saving and pruning: the folder never lies."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from rank_stage import Act, Stage

from exa_cli.checkpoint.select import choose
from exa_cli.checkpoint.verify import survey, verify


@pytest.mark.slow
def test_killed_at_each_change_to_the_filesystem_the_next_life_finds_the_truth(
    tmp_path: Path, stage: Stage
) -> None:
    """Every point of two saves and a pruning, writes whole and torn: about a hundred kills."""
    ((result,),) = stage.play(tmp_path, Act("sweep_kill_points", 1))
    chosen = result["chosen"]
    for torn, point, step, right, damaged, left in chosen:
        assert right, (torn, point, step)
        assert not damaged, (torn, point, damaged)
        assert left == 0, "the next epoch's sweep leaves only what can be used"
    for torn in (False, True):
        steps = [entry[2] for entry in chosen if entry[0] == torn]
        assert steps == sorted(steps), "what was committed once is never lost"
        assert set(steps) == {0, 10, 20}
        assert len(steps) > 40


def test_a_rank_killed_at_a_random_point_never_leaves_a_checkpoint_that_loads_wrong(
    tmp_path: Path, stage: Stage
) -> None:
    chance = random.Random(31)
    killed = 0
    for number in range(16):
        folder = tmp_path / str(number)
        kill = Act("killed_at_random", 2, {"seed": chance.randrange(1 << 30)})
        _, results = stage.play(folder, Act("saved", 2, {"step": 10}), kill)
        killed += any("killed" in result for result in results)
        for result in results:
            assert result.get("killed") == 9 or result["error"] in (None, "CheckpointFailed")
        reports = survey(folder / "checkpoints", verify)
        assert {report.verdict for report in reports} <= {"good", "incomplete"}
        candidates = list(choose(reports, lambda name, epoch: True).candidates)
        (found,) = stage.play(folder, Act("loaded", 2, {"candidates": candidates}))
        assert all(result["right"] and not result["skipped"] for result in found)
    assert killed >= 10, "most of these points must really kill"
