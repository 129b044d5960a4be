"""The loss curve as a picture. The only module that loads matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from exa_cli.base.errors import Invalid


def loss_curve(told: dict[str, Any], records: list[dict[str, Any]], out: Path) -> Path:
    """Write a PNG: training and held-out loss over steps, baselines, and where lives began.

    Raises Invalid when matplotlib is not installed, or the file cannot be written.
    """
    try:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
    except ImportError as error:
        hint = "pip install 'exa-hpc[plots]'; the text report needs nothing"
        raise Invalid("matplotlib is not installed, so there is no picture", hint=hint) from error
    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    _curves(axes, records)
    _references(axes, told)
    axes.set(xlabel="optimizer step", ylabel="cross-entropy, nats a token", title=told["run"])
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize="small")
    axes.grid(alpha=0.2)
    try:
        figure.savefig(out, dpi=120, format=None if out.suffix else "png")
    except (OSError, ValueError) as error:
        raise Invalid(f"cannot write the picture: {error}", where=str(out)) from error
    plt.close(figure)
    return out


def _curves(axes: Any, records: list[dict[str, Any]]) -> None:
    trained = [(r["step"], r["ce"]) for r in records if r.get("ce") is not None]
    held_out = [(r["step"], r["held_out"]) for r in records if r.get("held_out") is not None]
    if trained:
        axes.plot(*zip(*trained, strict=True), lw=0.8, alpha=0.6, label="training")
    if held_out:
        axes.plot(*zip(*held_out, strict=True), "o-", ms=3, label="held-out")


def _references(axes: Any, told: dict[str, Any]) -> None:
    """Baselines as lines, and a mark at each step a later life began from."""
    styles = {"unigram": ":", "bigram": "--"}
    for name, value in (told["baselines"] or {}).items():
        axes.axhline(value, ls=styles[name], lw=1, color="0.4", label=f"{name} {value:.2f}")
    starts = [life["loaded_step"] for life in told["lives"] if life["loaded_step"]]
    for number, step in enumerate(starts):
        label = "resumed" if number == 0 else None
        axes.axvline(step, lw=1, color="tab:red", alpha=0.7, label=label)
