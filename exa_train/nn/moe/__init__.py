"""A sparse feed-forward network in replaceable parts: router, dispatch, experts, losses.

Nothing is dropped: every token reaches all its k experts, whatever their load. Every step is
bit-deterministic at any fixed number of threads: rows are moved by `index_select` and by
inverse permutation, never by `x[idx]`, whose gradient accumulates in no fixed order.
"""

from exa_train.nn.moe.layer import MoE, RouterStats

__all__ = ["MoE", "RouterStats"]
