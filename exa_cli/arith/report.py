"""What exa can say about a model without building it: as data, and as text for people."""

from __future__ import annotations

import textwrap
from typing import Any

from exa_cli.arith.costs import STORED_BYTES, TRAINING_BYTES, Counts, kv_cache_bytes
from exa_cli.arith.families import PRESETS, family_of
from exa_cli.spec.model import ModelConfig

_UNITS = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def facts(name: str, config: ModelConfig, seq: int) -> dict[str, Any]:
    """Everything `exa model show` knows, ready for JSON; ``seq`` is in tokens."""
    family = family_of(config)
    counts, flops = family.counts(config), family.flops(config, seq)
    state = family.state_bytes(config)
    untouched = PRESETS.get(name) == config
    return {
        "schema": 1,
        "preset": name,
        "about": family.about.get(name) if untouched else None,
        "config": config.to_dict(),
        "parameters": _parameters(counts),
        "flops_per_token": {
            "seq": seq,
            "causal": flops.training,
            "palm": flops.training_palm,
            "forward_causal": flops.training // 3,
        },
        "bytes": {
            "training": state.training,
            "stored": state.stored,
            "kv_cache_per_token": kv_cache_bytes(config),
        },
        "differences": [vars(d) for d in family.differences.get(name, ()) if untouched],
    }


def _parameters(counts: Counts) -> dict[str, Any]:
    return {
        "total": counts.total,
        "active": counts.active,
        "active_with_embedding": counts.active_with_embedding,
        "parts": [vars(part) for part in counts.parts],
    }


def listing() -> list[dict[str, Any]]:
    """Every preset in one row: name, purpose, exact parameters."""
    rows = []
    for name, config in PRESETS.items():
        family = family_of(config)
        counts = family.counts(config)
        row = {"preset": name, "total": counts.total, "active": counts.active}
        rows.append({**row, "about": family.about[name]})
    return rows


def short(number: float) -> str:
    """``249725468672`` → ``249.7 G``: four significant digits, decimal prefixes."""
    for size, prefix in _UNITS:
        if number >= size:
            return f"{number / size:.4g} {prefix}"
    return f"{number:g} "


def text(found: dict[str, Any]) -> str:
    """`facts` for people."""
    sections = (_shape, _parameter_table, _flops, _bytes, _differences)
    blocks = ["\n".join(section(found)) for section in sections]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _shape(found: dict[str, Any]) -> list[str]:
    c = found["config"]
    changed = [] if found["about"] else ["  changed by --set"]
    rows = [
        ("vocabulary", f"{c['vocab']:,}, padded to {c['vocab_padded']:,} rows"),
        ("blocks", f"{c['layers']}, {_sparse_blocks(c['layers'], c['moe_period'])}"),
        ("width", f"{c['d_model']:,}"),
        ("attention", _attention(c)),
        ("dense FFN", f"{c['ffn']:,}, GELU"),
    ]
    if c["moe_period"]:
        spread = f"{c['experts']} of width {c['expert_ffn']:,}, each token to {c['top_k']}"
        rows.append(("experts", spread))
    rows.append(("head", "tied to the embedding" if c["tied"] else "its own matrix"))
    rows.append(("longest sequence", f"{c['max_seq']:,} tokens"))
    about = [f"  {found['about']}"] if found["about"] else changed
    head = [f"{found['preset']}  ({c['family']})", *about]
    return head + [f"  {label:<18}{value}" for label, value in rows]


def _sparse_blocks(layers: int, period: int) -> str:
    if not period:
        return "all dense"
    numbers = [str(i) for i in range(period, layers + 1, period)]
    shown = [*numbers[:2], "…", numbers[-1]] if len(numbers) > 4 else numbers
    return f"{len(numbers)} of them sparse: {', '.join(shown)}"


def _attention(c: dict[str, Any]) -> str:
    heads = f"{c['heads']} query heads over {c['kv_heads']} of keys and values"
    return f"{heads}, {c['head_dim']} wide, RoPE base {c['rope_theta']:,.0f}"


def _parameter_table(found: dict[str, Any]) -> list[str]:
    p = found["parameters"]
    lines = [f"parameters{'total':>26}{'active per token':>20}"]
    for part in p["parts"]:
        lines.append(f"  {part['name']:<12}{part['total']:>22,}{part['active']:>20,}")
    lines.append(f"  {'all':<12}{p['total']:>22,}{p['active']:>20,}")
    lines.append(f"  {'active, with the input embedding':<34}{p['active_with_embedding']:>20,}")
    return lines


def _flops(found: dict[str, Any]) -> list[str]:
    f = found["flops_per_token"]
    return [
        f"training FLOPs per token at sequences of {f['seq']:,} tokens",
        f"  causal  6·active +  6·L·H·dh·S   {f['causal']:>22,}   {short(f['causal'])}FLOP",
        f"  PaLM    6·active + 12·L·H·dh·S   {f['palm']:>22,}   {short(f['palm'])}FLOP",
        "  exa's utilisation figures use the causal one; recomputation is never counted",
    ]


def _bytes(found: dict[str, Any]) -> list[str]:
    b = found["bytes"]
    cache = b["kv_cache_per_token"]
    return [
        "bytes of state, whole model",
        f"  training  {TRAINING_BYTES} B/parameter {b['training']:>22,}   {short(b['training'])}B",
        f"  stored    {STORED_BYTES} B/parameter {b['stored']:>22,}   {short(b['stored'])}B",
        f"  keys and values, bf16, per token{cache:>14,}   {short(cache)}B",
    ]


def _differences(found: dict[str, Any]) -> list[str]:
    if not found["differences"]:
        return []
    lines = ["how and why this differs from the design notes"]
    for d in found["differences"]:
        lines += [f"  {d['topic']}", *_wrapped("notes", d["notes"])]
        lines += [*_wrapped("built", d["built"]), *_wrapped("why", d["why"])]
    return lines


def _wrapped(label: str, words: str) -> list[str]:
    first = f"    {label:<7}"
    return textwrap.wrap(words, width=92, initial_indent=first, subsequent_indent=" " * 11)
