"""What is left open is decided once, with a reason; what cannot be laid out is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exa_cli.base.errors import Invalid, NotFound
from exa_cli.plan.freeze import DataFacts, Machine, freeze
from exa_cli.spec import runfile, toml

DATA = DataFacts("/data", 512, "id")


def plan(settings=(), machine=None, data=DATA):
    run = runfile.read(toml.override(toml.parse("", "run.toml"), list(settings)))
    return freeze(run, machine or Machine(2, 1, 2), data, "demo-0000")


def test_a_batch_that_ranks_cannot_share_names_the_nearest_that_they_can():
    with pytest.raises(Invalid) as caught:
        plan(["train.global_batch=6", "train.microbatch=2"])
    assert "4 or 8" in caught.value.hint


def test_a_vocabulary_smaller_than_the_data_is_refused():
    with pytest.raises(Invalid, match="less than the data's"):
        plan(["model.vocab=300"])


def test_an_unknown_preset_is_not_found():
    with pytest.raises(NotFound):
        plan(["model.preset=alphaexa-cj"])


def test_the_default_step_has_a_thousand_tokens_for_two_ranks():
    train = plan()["train"]
    assert (train["microbatch"], train["global_batch"]) == (2, 4)
    assert train["global_batch"] * train["seq_len"] == 1024


def test_every_planned_value_has_its_reason_and_no_given_one_has():
    made = plan(["train.warmup=3", "resources.nodes=1"])
    assert "train.warmup" not in made["why"] and "parallel.nodes" not in made["why"]
    for key in ("train.microbatch", "train.global_batch", "train.threads", "checkpoint.every"):
        assert made["why"][key]


def test_nothing_in_a_plan_is_left_to_decide():
    def walk(value):
        if isinstance(value, dict):
            for key, inner in value.items():
                if key != "why":
                    yield from walk(inner)
        else:
            yield value

    assert "auto" not in list(walk(plan()))


def test_only_an_interval_that_was_left_open_adapts_to_what_is_measured():
    open_ = plan(["resources.nodes=128", "parallel.ranks_per_node=1"])["checkpoint"]
    assert (open_["every"], open_["mode"], open_["adaptive"]) == (80, "async", True)
    assert open_["interrupt_s"] == pytest.approx(7.9 * 3600)
    assert "arXiv:2410.21680" in open_["interrupt_source"]
    given_ = plan(["checkpoint.every=80", "checkpoint.mode=sync"])["checkpoint"]
    assert (given_["every"], given_["mode"], given_["adaptive"]) == (80, "sync", False)


def test_the_model_takes_the_datas_vocabulary_and_the_runs_length():
    made = plan(["train.seq_len=4096"])
    assert made["model"]["vocab"] == 512 and made["model"]["max_seq"] >= 4096


def test_unknown_cores_give_one_thread_and_say_so():
    made = plan(machine=Machine(1, 1, None))
    assert made["train"]["threads"] == 1
    assert "unknown" in made["why"]["train.threads"]


@given(
    nodes=st.integers(1, 12),
    ranks=st.integers(1, 8),
    seq=st.sampled_from([2, 64, 100, 256, 1000, 4096]),
    batch=st.none() | st.integers(1, 64),
)
def test_a_frozen_batch_always_divides_among_the_ranks(nodes, ranks, seq, batch):
    settings = [f"resources.nodes={nodes}", f"parallel.ranks_per_node={ranks}"]
    settings += [f"train.seq_len={seq}"] + ([f"train.global_batch={batch}"] if batch else [])
    try:
        made = plan(settings)
    except Invalid as error:
        assert batch and batch % (nodes * ranks) and "nearest" in error.hint
        return
    train, world = made["train"], made["parallel"]["world"]
    assert world == nodes * ranks
    assert train["global_batch"] % (train["microbatch"] * world) == 0


@pytest.mark.parametrize(
    ("walltime", "seconds"), [("00:01:00", 10), ("01:00:00", 300), ("00:10:00", 60)]
)
def test_the_margin_before_the_walltime_is_a_tenth_within_bounds(walltime, seconds):
    made = plan([f"resources.walltime={walltime}"])
    assert made["policy"]["stop_before_s"] == seconds


def test_replicas_are_compared_when_a_checkpoint_is_due_unless_more_often():
    made = plan(["checkpoint.every=7"])
    assert made["policy"]["compare_every"] == 7
    assert "right before it" in made["why"]["policy.compare_every"]
    assert plan(["policy.compare_every=2"])["policy"]["compare_every"] == 2


def test_what_follows_a_bad_step_is_as_asked():
    asked = plan(["policy.bad_step='roll-back'", "policy.skip_at_most=9"])["policy"]
    assert (asked["bad_step"], asked["skip_at_most"]) == ("roll-back", 9)
    assert plan()["policy"]["bad_step"] == "skip"
    with pytest.raises(Invalid, match="bad_step"):
        plan(["policy.bad_step='ignore'"])


@pytest.mark.parametrize(
    ("units", "expected", "reason"),
    [(True, "bf16", "has units"), (False, "fp32", "no units"), (None, "fp32", "unknown")],
)
def test_bf16_is_chosen_only_where_it_is_known_to_be_fast(units, expected, reason):
    planned = plan(machine=Machine(2, 1, 2, bf16=units))
    assert planned["train"]["precision"] == expected
    assert reason in planned["why"]["train.precision"]


def test_a_precision_that_was_asked_for_is_kept_on_any_machine():
    planned = plan(["train.precision=bf16"], machine=Machine(2, 1, 2, bf16=False))
    assert planned["train"]["precision"] == "bf16"
    assert "train.precision" not in planned["why"]
