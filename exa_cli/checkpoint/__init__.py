"""The checkpoint format on disk: write, verify, choose, prune, export. No torch.

``docs/checkpoints.md`` is the specification; `exa_train.checkpoint` puts tensors in and out.
"""
