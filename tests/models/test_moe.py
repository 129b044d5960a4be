"""The sparse layer against a plain loop over tokens and experts, and what its losses mean."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from exa_train.nn.moe import MoE
from exa_train.nn.moe.dispatch import combine, dispatch, plan
from exa_train.nn.moe.experts import grouped_linear
from exa_train.nn.moe.losses import load_balancing, z_loss
from exa_train.nn.moe.router import Router


def layer(
    top_k: int, *, width: int = 16, experts: int = 5, dtype: torch.dtype = torch.float64
) -> MoE:
    made = torch.Generator().manual_seed(top_k)
    moe = MoE(width, experts, 24, top_k)
    for param in moe.parameters():
        param.data.normal_(0, 0.3, generator=made)
    return moe.to(dtype)


def tokens(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    made = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=made, dtype=torch.float64).to(dtype)


def by_hand(moe: MoE, x_ND: Tensor) -> Tensor:
    """Each token, each of its experts, one after the other."""
    probs = (x_ND @ moe.router.weight.T).softmax(-1)
    rows = []
    for x, p in zip(x_ND, probs, strict=True):
        best = p.argsort(descending=True)[: moe.router.top_k]
        weight = p[best] / p[best].sum() if len(best) > 1 else p[best]
        outs = [moe.experts.down[e] @ F.gelu(moe.experts.up[e] @ x) for e in best]
        rows.append(sum(w * y for w, y in zip(weight, outs, strict=True)))
    return torch.stack(rows)


@pytest.mark.parametrize("top_k", [1, 2, 3, 5])
def test_output_and_gradients_equal_a_loop_over_tokens(top_k: int) -> None:
    moe = layer(top_k)
    x = tokens(2, 9, 16)
    results = []
    for forward in (lambda t: moe(t)[0].flatten(0, 1), lambda t: by_hand(moe, t.flatten(0, 1))):
        moe.zero_grad()
        given = x.clone().requires_grad_()
        out = forward(given)
        out.square().sum().backward()
        results.append([out.detach(), given.grad, *(p.grad for p in moe.parameters())])
    for found, expected in zip(*results, strict=True):
        assert float(expected.abs().max()) > 0
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_an_expert_without_tokens_gets_a_zero_gradient_and_breaks_nothing() -> None:
    moe = layer(2)
    x = tokens(1, 8, 16).abs()
    with torch.no_grad():
        moe.router.weight[0] = -10.0
        moe.router.weight[4] = -10.0
    out, stats = moe(x)
    out.sum().backward()
    assert stats.load[0] == stats.load[4] == 0
    assert moe.experts.up.grad is not None
    assert torch.equal(moe.experts.up.grad[0], torch.zeros_like(moe.experts.up.grad[0]))
    assert torch.isfinite(out).all()


def test_all_tokens_on_one_expert_is_fine() -> None:
    x, weight = tokens(6, 4), tokens(3, 5, 4)
    torch.testing.assert_close(grouped_linear(x, weight, [0, 6, 0]), x @ weight[1].T)


@pytest.mark.parametrize("top_k", [2, 3])
def test_router_is_bit_stable_under_permutation_of_tokens(top_k: int) -> None:
    router = Router(64, 8, top_k)
    made = torch.Generator().manual_seed(0)
    torch.nn.init.normal_(router.weight, 0, 0.05, generator=made)
    x = torch.randn(301, 64, generator=made)
    order = torch.randperm(301, generator=made)
    straight, permuted = router(x), router(x.index_select(0, order))
    for before, after in zip(straight, permuted, strict=True):
        assert torch.equal(before.index_select(0, order), after)


@pytest.mark.parametrize("top_k", [2, 3])
def test_router_works_in_fp32_under_autocast(top_k: int) -> None:
    router = Router(64, 8, top_k)
    torch.nn.init.normal_(router.weight, 0, 0.05, generator=torch.Generator().manual_seed(0))
    x = tokens(50, 64, dtype=torch.float32)
    plain = router(x)
    with torch.autocast("cpu", torch.bfloat16):
        cast = router(x)
    for before, after in zip(plain, cast, strict=True):
        assert torch.equal(before, after)


def test_weights_of_the_chosen_sum_to_one_from_two_choices_on() -> None:
    x = tokens(20, 16)
    assert torch.allclose(layer(3).router(x).weights.sum(-1), torch.ones(20).double())
    single = layer(1).router(x)
    assert torch.equal(single.weights, single.probs.amax(-1, keepdim=True))


def test_dispatch_then_combine_with_weights_adding_to_one_is_the_identity() -> None:
    experts = torch.tensor([[0, 3], [3, 1], [1, 0], [3, 2]])
    x = tokens(4, 6)
    to = plan(experts, experts=5)
    rows = dispatch(x, to)
    assert to.counts == [2, 2, 1, 3, 0]
    assert torch.equal(rows, x[torch.tensor([0, 2, 1, 2, 3, 0, 1, 3])])
    back = combine(rows, torch.full((4, 2), 0.5).double(), to)
    torch.testing.assert_close(back, x)


def test_moving_rows_passes_gradcheck() -> None:
    to = plan(torch.tensor([[0, 1, 2], [2, 0, 1], [1, 2, 0], [0, 2, 1]]), experts=3)
    x = tokens(4, 3).requires_grad_()
    weights = tokens(4, 3).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda a, w: combine(dispatch(a, to).square(), w, to), (x, weights)
    )


def test_balancing_loss_is_one_at_perfect_balance_and_e_at_collapse() -> None:
    experts = 8
    even = torch.full((16, experts), 1 / experts)
    assert float(load_balancing(even, torch.full((experts,), 1 / experts))) == pytest.approx(1)
    collapsed = F.one_hot(torch.zeros(16, dtype=torch.long), experts).float()
    assert float(load_balancing(collapsed, collapsed[0])) == pytest.approx(experts)


def test_balancing_loss_pushes_probability_away_from_the_crowded_expert() -> None:
    logits = torch.zeros(4, 3, requires_grad=True)
    load_balancing(logits.softmax(-1), torch.tensor([0.8, 0.1, 0.1])).backward()
    assert logits.grad is not None
    assert (logits.grad[:, 0] > 0).all()
    assert (logits.grad[:, 1:] < 0).all()


def test_z_loss_is_the_mean_square_of_the_log_partition() -> None:
    logits = torch.tensor([[0.0, 0.0], [3.0, 3.0]])
    log2 = float(torch.log(torch.tensor(2.0)))
    assert float(z_loss(logits)) == pytest.approx((log2**2 + (3 + log2) ** 2) / 2)


def test_load_is_the_fraction_of_assignments() -> None:
    moe = layer(2)
    stats = moe(tokens(2, 10, 16))[1]
    assert float(stats.load.sum()) == pytest.approx(1)
    assert torch.equal(stats.load * 40, (stats.load * 40).round())
    assert not stats.load.requires_grad


class _Products(TorchDispatchMode):
    """Records the name and the dtype of every operation."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, torch.dtype | None]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        dtype = args[0].dtype if args and isinstance(args[0], Tensor) else None
        self.seen.append((func.overloadpacket.__name__, dtype))
        return func(*args, **(kwargs or {}))


def test_experts_run_in_bf16_under_autocast_forward_and_backward() -> None:
    """Autocast casts `mm`, but not what a later grouped kernel would be given."""
    moe = layer(2, dtype=torch.float32)
    x = tokens(2, 8, 16, dtype=torch.float32).requires_grad_()
    with _Products() as ops:
        with torch.autocast("cpu", torch.bfloat16):
            out, stats = moe(x)
        (out.sum() + stats.aux + stats.z).backward()
    products = [dtype for name, dtype in ops.seen if name in ("mm", "bmm", "addmm")]
    experts = 5 * 2 * 3
    router = 3
    assert products.count(torch.bfloat16) == experts
    assert products.count(torch.float32) == router
    assert out.dtype == torch.float32


def test_no_operation_adds_into_shared_rows_in_no_fixed_order() -> None:
    """index_put and friends accumulate in the order threads arrive; none may be used."""
    moe = layer(3, dtype=torch.float32)
    x = tokens(2, 8, 16, dtype=torch.float32).requires_grad_()
    with _Products() as ops:
        out, stats = moe(x)
        (out.sum() + stats.aux + stats.z).backward()
    names = {name for name, _ in ops.seen}
    assert "index_select" in names
    assert not {n for n in names if n.startswith(("index_put", "index_add", "scatter_add"))}
