"""How alphaexa-250b differs from the design notes it is named after, and why.

The notes (AlphaExaAI-250B: specification, YAML, training plan, benchmark sheet) contradict
each other and, in places, arithmetic. The rule for what is built instead: keep every
structural statement, change as few numbers as possible, and let one sentence explain each
change: every width is halved. Figures here are checked against the arithmetic by a test.
"""

from __future__ import annotations

from exa_cli.arith.differences import Difference

_ALPHAEXA_250B = (
    Difference(
        topic="widths",
        notes="250 B parameters at width 16,384, FFN 65,536, 120 blocks",
        built="width 8,192, FFN 32,768, 64 heads of 128, experts of 16,384; 120 blocks stay",
        why="at the notes' widths 120 dense blocks alone hold 386.5 B and 32 full-size experts "
        "in every 6th block make 1.7 T; no reading of them gives 250 B. Half of every width "
        "does, and two active experts then cost exactly one dense FFN",
    ),
    Difference(
        topic="experts",
        notes="32 experts of about 6.5 B each, in every 6th block",
        built="32 experts of 268 M each, in every 6th block",
        why="32 × 6.5 B × 20 blocks is 4.2 T",
    ),
    Difference(
        topic="active",
        notes="not stated",
        built="86.6 B a token: 35 % of all parameters",
        why="only every 6th block is sparse; moe_period = 1 would change that and is a setting",
    ),
    Difference(
        topic="heads",
        notes="128 query heads, each with its own key and value; elsewhere 16 key/value heads",
        built="64 query heads over 16 key/value heads",
        why="with 128 of each, one sequence of 256k tokens needs 2.06 TB of cached keys and "
        "values in bf16; with 16 it is 258 GB",
    ),
    Difference(
        topic="checkpoint",
        notes="50 GB (also 45, and 40 to 65)",
        built="3.00 TB: 12 B a parameter; 499 GB for bf16 weights alone",
        why="50 GB is one of some 60 shards, not a checkpoint",
    ),
    Difference(
        topic="restore",
        notes="under 30 s",
        built="a bandwidth to be measured",
        why="3.00 TB in 30 s is 100 GB/s from storage, 0.78 GB/s for each of 128 nodes",
    ),
    Difference(
        topic="throughput",
        notes="3.9 M tokens/s on 1,024 A100",
        built="about 235,000 tokens/s if 40 % of peak is reached",
        why="3.9 M tokens/s at 4,096-token sequences is 2,121 PFLOP/s, 6.6 times the peak of "
        "1,024 A100 (319.5 PFLOP/s in bf16)",
    ),
    Difference(
        topic="norm",
        notes="pre-LayerNorm in the specification, RMSNorm in the YAML",
        built="pre-LayerNorm with weight and bias, statistics in fp32",
        why="the YAML departs from the specification in blocks, FFN, experts, period and "
        "vocabulary too: as it stands it describes a model of 9.1 T",
    ),
    Difference(
        topic="vocabulary",
        notes="250,000 in the specification, 128,256 in the YAML",
        built="250,000, padded to 250,112 rows",
        why="rows come in multiples of 128; the logits of the extra rows are cut off",
    ),
    Difference(
        topic="context",
        notes="256k, expandable to 1 M, supporting 1 to 2 M",
        built="4,096 as it stands; a longer one is a setting (max_seq)",
        why="nothing beyond what was trained and measured is claimed; at 256k attention alone "
        "is three quarters of the FLOPs",
    ),
)

DIFFERENCES: dict[str, tuple[Difference, ...]] = {"alphaexa-250b": _ALPHAEXA_250B}
