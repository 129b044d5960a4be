"""What the whole model promises: causal, padded rows mute, initialised the same everywhere."""

from __future__ import annotations

import math
import subprocess
import sys
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from exa_cli.arith.families import preset
from exa_cli.spec.model import ModelConfig
from exa_train.models import build
from exa_train.models.alphaexa import AlphaExa, ModelOutput

TINY = preset("alphaexa-ci").override(
    [
        "vocab=200",
        "layers=4",
        "moe_period=2",
        "d_model=32",
        "heads=4",
        "kv_heads=2",
        "head_dim=8",
        "ffn=48",
        "experts=4",
        "expert_ffn=24",
        "max_seq=64",
    ]
)


def model(config: ModelConfig = TINY, seed: int = 1) -> AlphaExa:
    made = AlphaExa(config)
    made.init_weights(seed)
    return made


def tokens(config: ModelConfig = TINY, length: int = 40, batch: int = 2) -> torch.Tensor:
    made = torch.Generator().manual_seed(0)
    return torch.randint(config.vocab, (batch, length), generator=made)


def losses(net: AlphaExa, given: torch.Tensor, targets: torch.Tensor) -> ModelOutput:
    out = net(given, targets)
    assert isinstance(out, ModelOutput)
    return out


def test_a_sequence_beyond_max_seq_is_refused() -> None:
    with pytest.raises(ValueError, match="max_seq is 64"):
        model()(tokens(length=65))


@pytest.mark.parametrize("period", [0, 2])
def test_a_later_token_never_changes_an_earlier_logit(period: int) -> None:
    """Dense: to the last bit. Sparse: another token's routing changes how many rows an expert
    multiplies at once, hence the order of additions, so there to fp64 rounding."""
    net = model(TINY.override([f"moe_period={period}"])).double()
    given = tokens()
    before = net(given)
    for changed in (1, 20, 39):
        other = given.clone()
        other[:, changed] = (other[:, changed] + 1) % TINY.vocab
        after = net(other)
        difference = (after - before).abs().amax(dim=(0, 2))
        assert difference[:changed].max() <= (1e-12 if period else 0)
        assert difference[changed] > 1e-6


def test_padding_rows_have_no_logits_and_no_gradient() -> None:
    net = model()
    assert TINY.vocab_padded == 256
    assert net(tokens()).shape == (2, 40, 200)
    losses(net, tokens(), tokens()).loss.backward()
    assert net.head is not None
    for matrix in (net.head.weight, net.embed.weight):
        assert matrix.shape[0] == 256
        assert matrix.grad is not None
        assert float(matrix.grad[:200].abs().sum()) > 0
        assert float(matrix.grad[200:].abs().sum()) == 0


def test_padding_rows_never_enter_the_softmax() -> None:
    net = model()
    before = losses(net, tokens(), tokens()).ce
    with torch.no_grad():
        assert net.head is not None
        net.head.weight[200:] = 1e4
    assert torch.equal(losses(net, tokens(), tokens()).ce, before)


def test_loss_is_the_mean_cross_entropy_and_the_weighted_router_losses() -> None:
    net = model()
    given, targets = tokens(), tokens().roll(1)
    out = losses(net, given, targets)
    expected = F.cross_entropy(net(given).float().flatten(0, 1), targets.flatten())
    torch.testing.assert_close(out.ce, expected)
    whole = out.ce + TINY.aux_coef * out.aux + TINY.z_coef * out.z
    torch.testing.assert_close(out.loss, whole)
    assert out.router_load.shape == (2, 4)
    torch.testing.assert_close(out.router_load.sum(1), torch.ones(2))


def test_at_init_the_loss_is_that_of_a_uniform_guess_and_load_is_nearly_even() -> None:
    out = losses(model(TINY.override(["init_std=0.001"])), tokens(), tokens().roll(1))
    assert out.ce.item() == pytest.approx(math.log(200), abs=0.01)
    assert out.aux.item() == pytest.approx(1.0, abs=0.05)


def test_a_dense_model_reports_no_router() -> None:
    out = losses(model(TINY.override(["moe_period=0"])), tokens(), tokens())
    assert out.aux.item() == out.z.item() == 0
    assert out.router_load.shape == (0, 4)
    assert torch.equal(out.loss, out.ce)


def test_a_tied_model_has_one_matrix_and_trains_it_from_both_ends() -> None:
    net = model(TINY.override(["tied=true"]))
    assert net.head is None
    losses(net, tokens(), tokens()).loss.backward()
    assert net.embed.weight.grad is not None
    unseen = sorted(set(range(200)) - set(tokens().flatten().tolist()))
    assert float(net.embed.weight.grad[unseen].abs().sum()) > 0


def test_meta_then_empty_then_init_is_the_same_model() -> None:
    with torch.device("meta"):
        late = AlphaExa(TINY)
    late.to_empty(device="cpu")
    for tensor in (*late.parameters(), *late.buffers()):
        tensor.data.fill_(math.nan)
    late.init_weights(1)
    direct = model()
    assert late.state_dict().keys() == direct.state_dict().keys()
    for name, value in direct.state_dict().items():
        assert torch.equal(late.state_dict()[name], value), name
    assert torch.equal(late(tokens()), direct(tokens()))


def test_a_parameter_is_a_function_of_seed_and_name_only() -> None:
    """Not of how many others there are: a deeper model has the same first experts."""
    net, again, other = model(seed=1), model(seed=1), model(seed=2)
    deeper = model(TINY.override(["layers=6"]))
    name = "blocks.1.ffn.experts.up"
    weight = net.get_parameter(name)
    assert torch.equal(weight, again.get_parameter(name))
    assert torch.equal(weight, deeper.get_parameter(name))
    assert not torch.equal(weight, other.get_parameter(name))
    assert not torch.equal(weight, net.get_parameter("blocks.3.ffn.experts.up"))


def test_matrices_into_the_residual_stream_start_smaller_by_root_of_twice_the_depth() -> None:
    net = model(TINY.override(["d_model=256", "ffn=256", "expert_ffn=256", "head_dim=64"]))
    smaller = TINY.init_std / math.sqrt(2 * TINY.layers)
    for name, param in net.named_parameters():
        if "norm" in name:
            assert param.mean().item() == (1.0 if name.endswith("weight") else 0.0)
            assert param.std().item() == 0.0
            continue
        ends = ("attention.out.weight", "ffn.down.weight", "experts.down")
        expected = smaller if name.endswith(ends) else TINY.init_std
        assert param.std().item() == pytest.approx(expected, rel=0.15), name


SHARDED = """
import sys, hashlib, torch, torch.distributed as dist
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from exa_cli.arith.families import preset
from exa_train.models import build
rank, world = int(sys.argv[1]), int(sys.argv[2])
dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=world)
config = preset("alphaexa-ci").override(["layers=6", "vocab=200"])
with torch.device("meta"):
    model = build(config)
mesh = dist.device_mesh.init_device_mesh("cpu", (world,))
for block in model.blocks:
    fully_shard(block, mesh=mesh)
fully_shard(model, mesh=mesh)
model.to_empty(device="cpu")
model.init_weights(7)
whole = build(config)
whole.init_weights(7)
for (name, part), full in zip(model.named_parameters(), whole.parameters(), strict=True):
    assert isinstance(part, DTensor), name
    mine = full.chunk(world)[rank] if rank < len(full.chunk(world)) else full[:0]
    assert torch.equal(part.to_local(), mine), name
assert torch.equal(model.rope_cos, whole.rope_cos) and torch.equal(model.rope_sin, whole.rope_sin)
print("same", rank, world)
"""


@pytest.mark.parametrize(("rank", "world"), [(1, 2), (2, 3)])
def test_a_sharded_model_starts_from_its_part_of_the_same_weights(rank: int, world: int) -> None:
    command = [sys.executable, "-c", SHARDED, str(rank), str(world)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["same", str(rank), str(world)], done.stderr


def test_bf16_autocast_keeps_the_residual_stream_and_the_losses_in_fp32() -> None:
    net = model()
    streams = []
    for block in net.blocks:
        block.register_forward_hook(lambda _m, _i, out: streams.append(out[0].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        out = losses(net, tokens(), tokens().roll(1))
    assert set(streams) == {torch.float32}
    assert {t.dtype for t in out} == {torch.float32}
    plain = losses(net, tokens(), tokens().roll(1))
    assert out.ce.item() == pytest.approx(plain.ce.item(), rel=5e-3)
    assert out.ce.item() != plain.ce.item()


def test_a_few_steps_learn_a_repeating_text() -> None:
    net = build(TINY)
    given = (torch.arange(41) % 7).repeat(4, 1)
    steps = torch.optim.AdamW(net.parameters(), lr=3e-3)
    seen = []
    for _ in range(40):
        steps.zero_grad()
        out = net(given[:, :-1], given[:, 1:])
        out.loss.backward()
        steps.step()
        seen.append(float(out.ce.detach()))
    assert seen[0] > 4.5
    assert seen[-1] < 0.5


def test_recomputing_blocks_in_the_backward_pass_gives_the_same_bits() -> None:
    plain, saving = model(), model()
    for block in saving.blocks:
        inner = block.forward
        block.forward = partial(checkpoint, inner, use_reentrant=False)  # type: ignore[method-assign]
    for net in (plain, saving):
        losses(net, tokens(), tokens().roll(1)).loss.backward()
    for (name, one), other in zip(plain.named_parameters(), saving.parameters(), strict=True):
        assert one.grad is not None
        assert torch.equal(one.grad, other.grad), name
