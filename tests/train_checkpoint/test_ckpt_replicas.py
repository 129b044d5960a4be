"""Replicas on a mesh that shards and replicates: found by their places, mended between ranks."""

from __future__ import annotations

from pathlib import Path

import pytest
from rank_stage import Act, Stage


@pytest.mark.parametrize(("ill", "source"), [(0, 2), (3, 1), (4, 0)])
def test_a_shard_is_compared_with_its_copies_and_mended_from_the_first_that_is_right(
    tmp_path: Path, stage: Stage, ill: int, source: int
) -> None:
    (results,) = stage.play(tmp_path, Act("replicas_on_a_mesh", 6, {"ill": ill}))
    for result in results:
        assert result["groups"] == [[0, 2, 4], [1, 3, 5]]
        assert (result["repairs"], result["lost"]) == ([[ill, source]], [])
        assert result["names"] == [[ill, ["model.big", "model.bf16"]]]
        assert result["well"]
