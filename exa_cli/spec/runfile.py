"""The run file: what a user asks for, key by key.

Defaults written here are exa's; ``"auto"`` means that `exa_cli.plan` chooses, freezes the
choice in plan.json at the first submit, and says why.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any, Literal

from exa_cli.base.errors import Invalid
from exa_cli.spec import times
from exa_cli.spec.declare import AUTO, Auto, build, declaration, key, table
from exa_cli.spec.ends import Means, legal_actions
from exa_cli.spec.model import ModelConfig
from exa_cli.spec.toml import TomlDoc

NAME_PATTERN = r"[A-Za-z][A-Za-z0-9_.-]{0,39}"
NAME_FORM = "a letter, then up to 39 letters, digits, _ . -"
No = Literal["none"]
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def legal_environment(values: dict[str, str]) -> str | None:
    """What is wrong with variables to export, in words; None when all are legal."""
    for name, value in values.items():
        if not _VARIABLE.fullmatch(name):
            return f"{name!r} is not a name a shell can export"
        if "\0" in value:
            return f"the value of {name} holds a NUL byte"
    return None


def _words(argv: tuple[str, ...]) -> str | None:
    if argv and (not argv[0] or argv[0].startswith("-")):
        return "the first word must be a program"
    if any("\0" in word for word in argv):
        return "a word holds a NUL byte"
    return None


def _never_or_time(text: str) -> str | None:
    if text in (AUTO, "never") or (re.fullmatch(times.PATTERN, text) and times.seconds(text)):
        return None
    return f'neither "never" nor {times.FORM}'


def _whole_lines(text: str) -> str | None:
    if found := [c for c in text if c in _NO_LINE]:
        return f"{found[0]!r} cannot stand in a script"
    return None


_NO_LINE = frozenset("\0\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")
"""What is no character of a line of shell: NUL, and what other programs than the shell, such as
Python's ``splitlines``, take for the end of one."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What is asked of the scheduler."""

    nodes: int | Auto = key(AUTO, help="Nodes to ask for; auto = the site's default.", minimum=1)
    walltime: str = key(
        "01:00:00", help="Time limit of one job.", pattern=times.PATTERN, form=times.FORM
    )
    spares: int = key(
        0, help="Nodes asked for beside those: one that fails is replaced without leaving the job.",
        minimum=0,
    )  # fmt: skip
    queue: str | Auto = key(AUTO, help="Queue or partition; auto = the best that fits.")
    account: str | None = key(None, help="Project or account to charge, where a site wants one.")
    filesystems: tuple[str, ...] = key(
        (), help="Filesystems the job uses, by the site's names, where a site wants them named."
    )
    after: tuple[str, ...] = key(
        (), help="Ids of jobs that must have ended before this one starts."
    )


def _shape(name: str) -> Any:
    """A key of `ModelConfig` as an override: its own declaration, absent by default."""
    fields = {field.name: field for field in dataclasses.fields(ModelConfig)}
    declared = declaration(fields[name])
    said = f"{declared.help.rstrip('.')}; absent = the preset's."
    return dataclasses.field(
        default=None, metadata={"key": dataclasses.replace(declared, help=said)}
    )


@dataclass(frozen=True, kw_only=True)
class Model:
    """Which model: a preset of `exa model list`, and what differs from it."""

    preset: str = key("alphaexa-ci", help="A preset of `exa model list`.")
    vocab: int | Auto = key(
        AUTO, help="Vocabulary size; auto = the prepared data's.", minimum=2, unit="tokens"
    )
    layers: int | None = _shape("layers")
    d_model: int | None = _shape("d_model")
    heads: int | None = _shape("heads")
    kv_heads: int | None = _shape("kv_heads")
    head_dim: int | None = _shape("head_dim")
    ffn: int | None = _shape("ffn")
    experts: int | None = _shape("experts")
    expert_ffn: int | None = _shape("expert_ffn")
    top_k: int | None = _shape("top_k")
    moe_period: int | None = _shape("moe_period")
    aux_coef: float | None = _shape("aux_coef")
    z_coef: float | None = _shape("z_coef")
    rope_theta: float | None = _shape("rope_theta")
    norm_eps: float | None = _shape("norm_eps")
    init_std: float | None = _shape("init_std")


@dataclass(frozen=True, kw_only=True)
class Data:
    """What it learns from."""

    path: str = key(
        "builtin:python-stdlib",
        help="A directory made by `exa data prepare`, or text to prepare on first use.",
    )
    vocab: int = key(
        512, help="Vocabulary when the text is prepared on first use.", minimum=259, maximum=1 << 24
    )
    text_field: str = key("text", help="The field of a .jsonl document that holds its text.")


@dataclass(frozen=True, kw_only=True)
class Train:
    """How it learns."""

    steps: int = key(800, help="Optimizer steps in all.", minimum=1)
    seq_len: int = key(256, help="Tokens in a sequence.", minimum=2, unit="tokens")
    global_batch: int | Auto = key(
        AUTO, help="Sequences in a step, over all ranks.", minimum=1, unit="sequences"
    )
    microbatch: int | Auto = key(
        AUTO, help="Sequences in one forward pass; belongs to the run, not the layout.", minimum=1
    )
    lr: float = key(2e-3, help="Peak learning rate.", minimum=0)
    min_lr_ratio: float = key(
        0.0, help="Final learning rate as a share of the peak.", minimum=0, maximum=1
    )
    warmup: int | Auto = key(
        AUTO, help="Steps of linear warm-up; auto = 5 % of the steps.", minimum=0
    )
    schedule: str = key(
        "wsd", help="Learning rate after the warm-up.", choices=("wsd", "cosine", "constant")
    )
    decay_fraction: float = key(
        0.3, help="Share of the steps that wsd decays over, at the end.", minimum=0, maximum=1
    )
    beta1: float = key(0.9, help="AdamW β1.", minimum=0, maximum=1)
    beta2: float = key(0.95, help="AdamW β2.", minimum=0, maximum=1)
    eps: float = key(1e-8, help="AdamW ε.", minimum=0)
    weight_decay: float = key(0.1, help="Decoupled weight decay of matrices.", minimum=0)
    clip: float = key(1.0, help="Largest global gradient norm; 0 = no clipping.", minimum=0)
    precision: str | Auto = key(
        AUTO,
        help="bf16 = autocast over fp32 weights; auto = bf16 where the device has units for it.",
        choices=("bf16", "fp32"),
    )
    seed: int = key(1, help="Seed of weights, sample order and all else random.", minimum=0)
    validate_every: int | Auto = key(
        AUTO, help="Steps between validations; auto = a tenth of the steps.", minimum=1
    )
    validate_windows: int = key(
        64, help="Held-out sequences a validation reads.", minimum=1, unit="sequences"
    )
    log_every: int = key(1, help="Steps between lines of metrics.jsonl.", minimum=1)
    threads: int | Auto = key(
        AUTO, help="CPU threads of a rank; auto = the node's cores over its ranks.", minimum=1
    )
    compile: bool = key(False, help="Run blocks through torch.compile.")
    image: str | None = key(
        None,
        help="Container image that ranks run in, where the site has a runtime; absent = the "
        "site's, none = no container.",
    )
    command: tuple[str, ...] = key(
        (),
        help="A program of your own, word by word, that each rank runs in place of exa's trainer "
        "(docs/own-program.md); absent = exa's.",
        check=_words,
    )


@dataclass(frozen=True, kw_only=True)
class Parallel:
    """How it is spread over ranks."""

    engine: str = key(
        "fsdp2",
        help="fsdp2 shards weights and optimizer; ddp copies them (the reference).",
        choices=("fsdp2", "ddp"),
    )
    ranks_per_node: int | Auto = key(
        AUTO, help="Ranks on a node; auto = the site's devices.", minimum=1
    )
    binding: str = key(
        AUTO,
        help="How ranks are bound to cores and devices: one of the site's bindings by name, none, "
        "or auto = the site's default where it fits.",
    )


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What is kept of it."""

    every: int | Auto = key(
        AUTO,
        help="Steps between checkpoints; auto = a tenth of the steps, and less as the measured "
        "cost of a save and the run's interrupts ask for it.",
        minimum=1,
    )
    keep: int = key(
        3, help="Verified checkpoints that are kept; the last one always is.", minimum=1
    )
    mode: str = key(
        "async",
        help="async = steps go on while a copy in host memory is written; sync = they wait, and "
        "no memory is taken for a copy.",
        choices=("async", "sync"),
    )
    parity: str = key(
        AUTO,
        help="Whether each checkpoint gets parity, from which damage is repaired; auto = up to "
        "4 GB, which one process reads within seconds. exa ckpt protect makes it later.",
        choices=(AUTO, "always", "never"),
    )


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What happens when it cannot go on."""

    stop_before: str | Auto = key(
        AUTO,
        help="Time before the walltime's end at which a run saves and stops; "
        "auto = a tenth of the walltime, between 10 s and 5 min.",
        pattern=times.PATTERN,
        form=times.FORM,
    )
    resubmit: Means = key(
        AUTO,
        help="Who hands in the next attempt: inside = the ending job, chain = jobs queued ahead, "
        "requeue = the batch system, watch = exa watch, never; auto = what the site allows.",
    )
    on: dict[str, str] = key(
        {}, help='After which cause to "resume" and after which to "stop".', check=legal_actions
    )
    retries: int = key(
        3, help="Failures in a row, with no step committed between, that are tried again.",
        minimum=0,
    )  # fmt: skip
    no_progress: int = key(
        2, help="Attempts in a row without a new committed step that end the run.", minimum=1
    )
    backoff: str = key(
        "00:00:30",
        help="Wait before an attempt after a failure; doubled with each further one, 1 h at most.",
        pattern=times.PATTERN,
        form=times.FORM,
    )
    node_hours: float | No = key(
        "none", help="What the run may use in all.", unit="node-hours", minimum=0
    )
    hang: str | Auto = key(
        AUTO,
        help='How long a step may stand still before its ranks are ended as hung; "never" = as '
        "long as it likes; auto = three times the 99th percentile of the run's own steps.",
        check=_never_or_time,
    )
    shrink: bool = key(
        False,
        help="Whether a run goes on with fewer nodes, in other bits, when one is lost and no "
        "spare is left.",
    )
    chain: int = key(1, help="Jobs that are queued ahead of time, with resubmit = chain.",
        minimum=1, maximum=100,
    )  # fmt: skip
    bad_step: str = key(
        "skip",
        help="After a step whose loss or gradient is not finite twice from the same state: skip = "
        "make no update in it, roll-back = go on from the last checkpoint, stop = end the run "
        "with cause bad-numbers (docs/bad-numbers.md).",
        choices=("skip", "roll-back", "stop"),
    )
    skip_at_most: int = key(
        3, help="Steps in a row that bad_step = skip may skip; one more stops the run.", minimum=1
    )
    compare_every: int | Auto = key(
        AUTO,
        help="Steps between comparisons of what ranks hold alike, and looks at the state; both "
        "come before every checkpoint too; auto = only there.",
        minimum=1,
    )


@dataclass(frozen=True, kw_only=True)
class Script:
    """Lines of the user's own in the job, kept as they stand."""

    header: str = key(
        "",
        help="Directives for the batch system, one a line, such as #SBATCH --mail-type=END; "
        "they replace exa's of the same key.",
        check=_whole_lines,
    )
    prologue: str = key(
        "",
        help="Commands for bash, run on the first node after modules and variables are set.",
        check=_whole_lines,
    )
    epilogue: str = key(
        "",
        help="Commands for bash, run on the first node when an attempt has ended and its end is "
        "recorded, for 60 s at most; $EXA_CAUSE says why it ended, $EXA_STEP its last step.",
        check=_whole_lines,
    )
    sets: tuple[str, ...] = key(
        (), help="Sets of variables that the site has and does not set by itself, by name."
    )
    rehearse: bool = key(
        True,
        help="Whether modules and prologue are tried on the login node before a submission.",
    )


@dataclass(frozen=True, kw_only=True)
class RunFile:
    """A whole run file."""

    name: str | None = key(
        None,
        help="Name of the run; absent = the file's name.",
        pattern=NAME_PATTERN,
        form=NAME_FORM,
    )
    resources: Resources = table(Resources, help="What is asked of the scheduler.")
    model: Model = table(Model, help="Which model.")
    data: Data = table(Data, help="What it learns from.")
    train: Train = table(Train, help="How it learns.")
    parallel: Parallel = table(Parallel, help="How it is spread over ranks.")
    checkpoint: Checkpoint = table(Checkpoint, help="What is kept of it.")
    policy: Policy = table(Policy, help="What happens when it cannot go on.")
    script: Script = table(Script, help="Lines of your own in the job script.")
    env: dict[str, str] = key({}, help="Variables exported to every rank.", check=legal_environment)


def read(doc: TomlDoc) -> RunFile:
    """A run file from its document. Raises Invalid with every fault, each with its line."""
    run = build(RunFile, doc)
    if run.train.decay_fraction == 0 and run.train.schedule == "wsd":
        raise Invalid(
            "the schedule wsd needs a decay",
            where=doc.where(("train", "decay_fraction")),
            hint='give train.decay_fraction above 0, or train.schedule = "constant"',
        )
    return run


def checked_name(text: str, where: str) -> str:
    """A run's name. Raises Invalid: names become job names, directories and shell words."""
    if not re.fullmatch(NAME_PATTERN, text):
        raise Invalid(f"{text!r} cannot name a run", where=where, hint=f"use {NAME_FORM}")
    return text


def dump(values: dict[str, Any]) -> str:
    """A document's values as TOML text, for the frozen run.toml."""
    import tomli_w

    return tomli_w.dumps(values)
