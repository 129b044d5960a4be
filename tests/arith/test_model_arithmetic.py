"""The published integers, and every figure quoted in the list of differences."""

from __future__ import annotations

from pathlib import Path

import pytest

from exa_cli.arith.costs import kv_cache_bytes
from exa_cli.arith.families import FAMILIES, PRESETS, family_of, preset
from exa_cli.arith.families.alphaexa import counts, flops, flops_per_token, state_bytes
from exa_cli.base.errors import Invalid, NotFound, Usage
from exa_cli.spec.model import ModelConfig


def test_unknown_preset_names_the_nearest_and_exits_6() -> None:
    with pytest.raises(NotFound) as caught:
        preset("alphaexa-250")
    assert caught.value.code == 6
    assert "alphaexa-250b" in str(caught.value)


def test_unknown_family_is_refused() -> None:
    config = preset("alphaexa-ci").override(["family=alphaexxa"])
    with pytest.raises(NotFound, match="alphaexxa"):
        family_of(config)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["kv_heads=3"], "kv_heads = 3 does not divide heads = 4"),
        (["top_k=9"], "top_k = 9 is more than experts = 8"),
        (["head_dim=33"], "head_dim = 33 is odd"),
        (["moe_period=13"], "moe_period = 13 is more than layers = 12"),
        (["layers=0"], "least legal value is 1"),
        (["vocab=many"], "must be a whole number"),
        (["depth=3"], "no table or key depth"),
    ],
)
def test_a_model_that_cannot_be_built_is_refused(settings: list[str], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        preset("alphaexa-ci").override(settings)


def test_a_setting_without_a_value_is_a_usage_error() -> None:
    with pytest.raises(Usage):
        preset("alphaexa-ci").override(["vocab"])


def test_all_disagreements_are_reported_at_once() -> None:
    with pytest.raises(Invalid) as caught:
        preset("alphaexa-ci").override(["kv_heads=3", "top_k=9"])
    assert "kv_heads" in str(caught.value)
    assert "top_k" in str(caught.value)


@pytest.mark.parametrize("name", PRESETS)
def test_a_config_survives_its_dictionary(name: str) -> None:
    config = PRESETS[name]
    assert ModelConfig.from_dict(config.to_dict()) == config


def test_a_dictionary_with_another_padding_is_refused() -> None:
    values = {**preset("alphaexa-ci").to_dict(), "vocab_padded": 1000}
    with pytest.raises(Invalid, match="vocab_padded"):
        ModelConfig.from_dict(values)


@pytest.mark.parametrize(("vocab", "rows"), [(512, 512), (1000, 1024), (250_000, 250_112)])
def test_rows_are_the_vocabulary_rounded_up_to_128(vocab: int, rows: int) -> None:
    config = preset("alphaexa-ci").override([f"vocab={vocab}"])
    assert config.vocab_padded == rows
    assert counts(config).by_part["head"].total == rows * 128


@pytest.mark.parametrize(
    ("name", "total", "active"),
    [
        ("alphaexa-ci", 3_121_408, 2_203_904),
        ("alphaexa-small", 35_430_912, 18_653_696),
        ("alphaexa-1b", 883_148_800, 463_718_400),
        ("alphaexa-7b", 7_165_841_408, 2_627_080_192),
        ("alphaexa-250b", 249_725_468_672, 86_615_277_568),
    ],
)
def test_presets_have_the_published_integers(name: str, total: int, active: int) -> None:
    counted = counts(PRESETS[name])
    assert (counted.total, counted.active) == (total, active)


def test_250b_with_the_input_embedding_and_tied() -> None:
    config = preset("alphaexa-250b")
    assert counts(config).active_with_embedding == 88_664_195_072
    tied = counts(config.override(["tied=true"]))
    assert tied.total == 247_676_551_168
    assert tied.active == tied.active_with_embedding == 86_615_277_568


def test_two_active_experts_of_250b_cost_one_dense_ffn() -> None:
    config = preset("alphaexa-250b")
    assert config.top_k * config.expert_ffn == config.ffn


@pytest.mark.parametrize(
    ("seq", "causal", "palm"),
    [(4096, 543.9, 568.0), (8192, 568.0, 616.3), (32_768, 713.0, 906.2), (262_144, 2065.9, 3612.1)],
)
def test_250b_gflops_per_token_in_both_conventions(seq: int, causal: float, palm: float) -> None:
    found = flops(preset("alphaexa-250b"), seq)
    assert found.training / 1e9 == pytest.approx(causal, abs=0.06)
    assert found.training_palm / 1e9 == pytest.approx(palm, abs=0.06)
    assert flops_per_token(preset("alphaexa-250b"), seq) == found.training


def test_the_figures_quoted_in_the_differences_are_the_arithmetic() -> None:
    """Each quoted figure is computed here from scratch and must stand in the text."""
    built = preset("alphaexa-250b")
    total, active = counts(built).total, counts(built).active
    notes = built.override(
        ["d_model=16384", "heads=128", "kv_heads=128", "ffn=65536", "expert_ffn=65536"]
    )
    dense = counts(notes.override(["moe_period=0", "vocab=128"]))
    blocks = dense.by_part["attention"].total + dense.by_part["dense_ffn"].total
    per_token = flops_per_token(built, 4096)
    peak = 1024 * 312e12
    quoted = {
        "widths": [f"{blocks / 1e9:.1f} B", f"{counts(notes).total / 1e12:.1f} T"],
        "experts": [f"{2 * 8192 * 16384 / 1e6:.0f} M", f"{32 * 6.5 * 20 / 1e3:.1f} T"],
        "active": [f"{active / 1e9:.1f} B", f"{active / total:.0%}".replace("%", " %")],
        "heads": [
            f"{kv_cache_bytes(notes) * 2**18 / 1e12:.2f} TB",
            f"{kv_cache_bytes(built) * 2**18 / 1e9:.0f} GB",
        ],
        "checkpoint": [
            f"{state_bytes(built).stored / 1e12:.2f} TB",
            f"{2 * total / 1e9:.0f} GB",
            f"{state_bytes(built).stored / 50e9:.0f} shards",
        ],
        "restore": [
            f"{state_bytes(built).stored / 30 / 1e9:.0f} GB/s",
            f"{state_bytes(built).stored / 30 / 128 / 1e9:.2f} GB/s",
        ],
        "throughput": [
            f"{3.9e6 * per_token / 1e15:,.0f} PFLOP/s",
            f"{3.9e6 * per_token / peak:.1f} times",
            f"{peak / 1e15:.1f} PFLOP/s",
            f"{0.4 * peak / per_token / 1e3:.0f},000 tokens/s",
        ],
    }
    texts = {
        d.topic: " ".join((d.notes, d.built, d.why))
        for d in FAMILIES["alphaexa"].differences["alphaexa-250b"]
    }
    for topic, figures in quoted.items():
        for figure in figures:
            assert figure in texts[topic], (topic, figure)
    long = flops(built, 2**18)
    assert long.attention / long.training == pytest.approx(0.75, abs=0.005)


def test_every_preset_says_what_it_is_for() -> None:
    for family in FAMILIES.values():
        assert family.about.keys() == family.presets.keys()


def test_the_table_in_the_documentation_holds_the_same_integers() -> None:
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    for name, config in PRESETS.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| {name} "))
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        counted = counts(config)
        assert cells == [
            name,
            f"{config.d_model:,}",
            f"{config.layers} ({len(config.sparse_blocks)})",
            f"{config.heads}/{config.kv_heads} x {config.head_dim}",
            f"{config.ffn:,}",
            f"{config.experts} x {config.expert_ffn:,}, {config.top_k}",
            f"{config.vocab:,}",
            f"{counted.total:,}",
            f"{counted.active:,}",
        ]
