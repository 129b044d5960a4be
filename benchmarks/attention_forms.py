"""Re-measure the forms of causal attention side by side, and hold the choice table to it.

    python benchmarks/attention_forms.py [--threads 1] [--rounds 9] [--quick]

Forward and backward of each form on the same tensors, interleaved round by round so that a
busy machine slows all of them alike; printed are the median of each form in milliseconds with
[least, greatest], the ratio of medians sdpa/tiled, and what `choose_form` takes. A row ends in
"table disagrees" when the other form was more than 10 % faster; the exit status is then 9.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from exa_train.nn.attention import FORMS, Form, choose_form

TOLERANCE = 1.10


@dataclass(frozen=True)
class Shape:
    """One case: B sequences of T positions, H query heads over K key/value heads of width C."""

    B: int
    T: int
    H: int
    K: int
    C: int


SHAPES = (
    Shape(8, 64, 4, 1, 32),
    Shape(2, 256, 4, 1, 32),
    Shape(2, 256, 4, 4, 32),
    Shape(2, 512, 8, 2, 32),
    Shape(1, 512, 16, 4, 64),
    Shape(1, 512, 16, 4, 128),
    Shape(1, 1024, 8, 2, 128),
    Shape(1, 2048, 8, 2, 64),
    Shape(1, 4096, 4, 1, 128),
)


def inputs(shape: Shape, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Queries, keys, values and an output gradient, from a fixed seed."""
    made = torch.Generator().manual_seed(0)
    group = shape.H // shape.K
    q = torch.randn(shape.B, shape.T, shape.K, group, shape.C, generator=made)
    k = torch.randn(shape.B, shape.T, shape.K, shape.C, generator=made)
    v = torch.randn(shape.B, shape.T, shape.K, shape.C, generator=made)
    g = torch.randn(q.shape, generator=made)
    return q.to(dtype), k.to(dtype), v.to(dtype), g.to(dtype)


def once(form: Form, tensors: tuple[Tensor, Tensor, Tensor, Tensor]) -> float:
    """Seconds of one forward and backward."""
    q, k, v = (t.detach().requires_grad_() for t in tensors[:3])
    start = time.perf_counter()
    FORMS[form](q, k, v).backward(tensors[3])
    return time.perf_counter() - start


def measure(shape: Shape, dtype: torch.dtype, rounds: int) -> dict[Form, list[float]]:
    """Seconds of every round of every form, sorted; one round of warm-up is thrown away."""
    tensors = inputs(shape, dtype)
    times: dict[Form, list[float]] = {form: [] for form in FORMS}
    for _ in range(rounds + 1):
        for form in FORMS:
            times[form].append(once(form, tensors))
    return {form: sorted(taken[1:]) for form, taken in times.items()}


def row(shape: Shape, dtype: torch.dtype, times: dict[Form, list[float]]) -> tuple[str, bool]:
    """A printed row, and whether the table agrees with it."""
    medians = {form: statistics.median(taken) for form, taken in times.items()}
    chosen = choose_form(shape.T, shape.C, dtype, "cpu").form
    agrees = medians[chosen] <= TOLERANCE * min(medians.values())
    cells = [
        f"{medians[form] * 1e3:8.2f} [{taken[0] * 1e3:.2f}, {taken[-1] * 1e3:.2f}]".ljust(30)
        for form, taken in times.items()
    ]
    case = f"{shape.B} x {shape.T}, {shape.H}/{shape.K} x {shape.C}, {str(dtype)[6:]}"
    ratio = medians["sdpa"] / medians["tiled"]
    verdict = "" if agrees else "  table disagrees"
    return f"{case:<34}{''.join(cells)}{ratio:6.2f}  {chosen}{verdict}", agrees


def main() -> int:
    """Measure every shape in bf16 and fp32."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="only sequences up to 512")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"torch {torch.__version__}, {args.threads} threads, {args.rounds} rounds")
    heads = "".join(f"{form + ' ms [least, greatest]':<30}" for form in FORMS)
    print(f"{'B x T, H/K x C, dtype':<34}{heads}  sdpa/tiled, chosen")
    all_agree = True
    for dtype in (torch.bfloat16, torch.float32):
        for shape in SHAPES:
            if args.quick and shape.T > 512:
                continue
            text, agrees = row(shape, dtype, measure(shape, dtype, args.rounds))
            print(text, flush=True)
            all_agree = all_agree and agrees
    return 0 if all_agree else 9


if __name__ == "__main__":
    sys.exit(main())
