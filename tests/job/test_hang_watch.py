"""The hang watch over time: what counts as progress, what is learnt, and what proves nothing."""

import pytest

from exa_cli.job import hang
from exa_cli.job.hang import GAP_S, HangWatch, Settings, sizes, wait_for_stacks


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 0.0

    monkeypatch.setattr(hang.clock, "monotonic", lambda: Clock.now)
    return Clock


def watching(tmp_path, fixed=10.0):
    return HangWatch(Settings(fixed, 1.0), tmp_path)


def beat(t, step=3, phase="step"):
    return {"t": str(t), "phase": phase, "step": step}


def looks(watch, clock, seconds, beats, every=1.0):
    """Look once a second; the first hang, with the time at which it was found."""
    for _ in range(int(seconds / every)):
        clock.now += every
        if found := watch.look(beats(clock.now), [0, 1]):
            return clock.now, found
    return None


def test_two_ranks_that_stop_are_found_when_their_time_is_over(tmp_path, clock):
    watch = watching(tmp_path)
    assert looks(watch, clock, 60, lambda t: {0: beat(t), 1: beat(t)}) is None
    at, found = looks(watch, clock, 60, lambda t: {0: beat(60), 1: beat(60)})
    assert at == pytest.approx(71, abs=1.1) and found.ranks == (0, 1)


def test_a_rank_behind_is_blamed_although_it_stopped_no_sooner(tmp_path, clock):
    watch = watching(tmp_path)
    _, found = looks(watch, clock, 60, lambda t: {0: beat(0, 4), 1: beat(0, 3)})
    assert found.ranks == (1,)


def test_a_pause_of_our_own_proves_nothing(tmp_path, clock):
    """SIGSTOP of the supervisor, a laptop that sleeps: ranks get their whole time again."""
    watch = watching(tmp_path)
    looks(watch, clock, 9, lambda t: {0: beat(0)})
    clock.now += GAP_S + 1000
    assert looks(watch, clock, 9, lambda t: {0: beat(0)}) is None
    assert looks(watch, clock, 9, lambda t: {0: beat(0)})


def test_a_checkpoint_that_grows_is_progress(tmp_path, clock):
    part = tmp_path / "step-00000004.aa" / "data-000000.exa"
    part.parent.mkdir()
    watch = watching(tmp_path)

    def slow(t):
        with part.open("ab") as file:
            file.write(b"x")
        return {0: beat(0, 4, "step")}

    assert looks(watch, clock, 100, slow) is None
    assert looks(watch, clock, 100, lambda t: {0: beat(0, 4, "step")})


def test_the_limit_follows_the_runs_own_steps(tmp_path, clock):
    watch = HangWatch(Settings(None, 1.0), tmp_path)
    steps = iter(range(1, 1000))
    assert looks(watch, clock, 600, lambda t: {0: beat(t, next(steps))}, every=2.0) is None
    at, _ = looks(watch, clock, 60, lambda t: {0: beat(600, 999)})
    assert 600 + 6 < at <= 600 + 9
    assert len(watch.steps_s) >= 200 and max(watch.steps_s) == 2.0


def test_validation_between_two_steps_is_no_slow_step(tmp_path, clock):
    watch = HangWatch(Settings(None, 1.0), tmp_path)
    clock.now = 1.0
    watch.look({0: beat(1, 5)}, [0])
    clock.now = 2.0
    watch.look({0: beat(2, 6, "validate")}, [0])
    clock.now = 15.0
    watch.look({0: beat(3, 6)}, [0])
    clock.now = 16.0
    watch.look({0: beat(4, 7)}, [0])
    assert list(watch.steps_s) == [1.0]


def test_ranks_whose_stack_file_does_not_grow_are_known(tmp_path, monkeypatch):
    monkeypatch.setattr(hang, "STACKS_S", 0.3)
    (tmp_path / "000000.txt").write_text("old")
    before = sizes(tmp_path, [0, 1])
    (tmp_path / "000001.txt").write_text("stack")
    assert wait_for_stacks(tmp_path, [0, 1], before) == [0]
