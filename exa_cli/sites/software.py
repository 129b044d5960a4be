"""Tables of a site profile about what a job runs with: launcher, environment, storage, torch."""

from __future__ import annotations

from dataclasses import dataclass

from exa_cli.sites import launcher as launchers
from exa_cli.sites.batch import No, Sourced
from exa_cli.sites.launcher import wrong_with as wrong_grammar
from exa_cli.sites.paths import wrong_with as wrong_template
from exa_cli.spec.declare import UNKNOWN, Unknown, key
from exa_cli.spec.runfile import legal_environment

BACKENDS = ("gloo", "nccl", "xccl", "ccl")


@dataclass(frozen=True, kw_only=True)
class Launcher(Sourced):
    """What starts the ranks."""

    kind: str = key(help="The launcher's name: " + ", ".join(launchers.KINDS) + ", or your own.")
    command: tuple[str, ...] = key(
        (),
        help="Its command line, word by word, with {ranks} and the like; absent = the kind's.",
        check=wrong_grammar,
    )
    options: tuple[str, ...] = key(
        (), help="Words to add to it, for example --mpi=pmix, one of `srun --mpi=list`."
    )
    bound: tuple[str, ...] | None = key(
        None,
        help="Words for ranks that bind themselves, so that it binds them no other way; {seats} = "
        "each local rank's CPUs, colons between; absent = the kind's.",
    )
    agents: tuple[str, ...] | None = key(
        None,
        help="What starts one small program on each node beside the ranks, each {ranks} being "
        "a node's; absent = a step of srun under Slurm, else the kind's, or none: all nodes are "
        "the supervisor's machine.",
        check=wrong_grammar,
    )
    rank_variable: str | Unknown = key(UNKNOWN, help="Variable with a process's rank.")
    size_variable: str | Unknown = key(UNKNOWN, help="Variable with the number of ranks.")
    local_rank_variable: str | Unknown = key(UNKNOWN, help="Variable with the rank on its node.")


@dataclass(frozen=True, kw_only=True)
class Modules(Sourced):
    """Environment modules a job loads before anything else."""

    purge: bool = key(False, help="Whether to unload all others first.")
    use: tuple[str, ...] = key((), help="Directories of modules to add.")
    load: tuple[str, ...] = key((), help="Modules to load, in order.")
    on_login: bool = key(
        True, help="Whether they load on login nodes too, so that a script can be tried there."
    )


@dataclass(frozen=True, kw_only=True)
class Env(Sourced):
    """A set of variables that belong together."""

    name: str = key(help="What it is for.")
    default: bool = key(
        True, help="Whether every job gets it; else a run asks for it by name, in script.sets."
    )
    min_nodes: int = key(1, help="Fewest nodes of a job that gets it.", minimum=1, unit="nodes")
    max_nodes: int | Unknown = key(
        UNKNOWN, help="Most nodes of a job that gets it.", minimum=1, unit="nodes"
    )
    variables: dict[str, str] = key(
        {}, help="Exported in every job; the run file's [env] wins.", check=legal_environment
    )
    prepend: dict[str, str] = key(
        {},
        help="Put before what a list such as LD_LIBRARY_PATH holds, a colon between.",
        check=legal_environment,
    )


@dataclass(frozen=True, kw_only=True)
class Rendezvous(Sourced):
    """How ranks reach each other."""

    interface: str | Unknown = key(
        UNKNOWN, help="Network interface of the compute network, for gloo and NCCL."
    )


@dataclass(frozen=True, kw_only=True)
class LocalStorage(Sourced):
    """Fast storage of a node, for staged data, logs and first copies of checkpoints."""

    path: str = key(
        "{tmp}/exa-{uid}",
        help="Directory of a user; {tmp}, {uid}, ${VAR} and ${VAR:-default} are replaced.",
        check=wrong_template,
    )
    wiped: bool | Unknown = key(UNKNOWN, help="Whether the site empties it between jobs.")
    bytes: int | Unknown = key(UNKNOWN, help="Its size on one node.", unit="bytes", minimum=0)


@dataclass(frozen=True, kw_only=True)
class TorchVersion(Sourced):
    """What is different for some versions of torch."""

    below: str | None = key(
        None, help="Versions before this one.", pattern=r"\d+(\.\d+){1,2}", form="for example 2.8"
    )
    backend: str = key(help="Their process group backend.", choices=BACKENDS)
    imports: tuple[str, ...] = key((), help="Modules that must be imported for it first.")


@dataclass(frozen=True, kw_only=True)
class Torch(Sourced):
    """What torch calls the device, and how ranks talk."""

    device: str = key("cpu", help="Device type.", choices=("cpu", "cuda", "xpu"))
    backend: str = key("gloo", help="Process group backend.", choices=BACKENDS)
    version: str | Unknown = key(UNKNOWN, help="Torch of the site's own environment.")
    older: tuple[TorchVersion, ...] = key((), help="What older versions of torch want instead.")
    traps: tuple[str, ...] = key((), help="What goes wrong with it here, a line each.")


@dataclass(frozen=True, kw_only=True)
class Filesystem(Sourced):
    """A filesystem that all nodes share."""

    name: str = key(help="What the site calls it; where jobs have to name it, that name.")
    path: str | Unknown = key(UNKNOWN, help="Where it is mounted; <words> stand for what varies.")
    kind: str | Unknown = key(UNKNOWN, help="Lustre, NFS, …")
    quota_bytes: int | Unknown = key(UNKNOWN, help="Default quota.", unit="bytes", minimum=0)
    quota_files: int | Unknown = key(UNKNOWN, help="Default quota of files.", minimum=0)
    purged_days: int | No | Unknown = key(
        UNKNOWN, help="Age at which files are deleted; none = they are kept.", minimum=0
    )
    backup: bool | Unknown = key(UNKNOWN, help="Whether it is backed up.")
    bytes_per_s: float | Unknown = key(
        UNKNOWN, help="What it reaches in all, reading or writing.", unit="bytes/s", minimum=0
    )
    jobs: bool | Unknown = key(UNKNOWN, help="Whether the site wants jobs to use it heavily.")
    note: str | None = key(None, help="What else to know, in a line.")


@dataclass(frozen=True, kw_only=True)
class Staging(Sourced):
    """The site's own tools to bring files onto all nodes."""

    broadcast: str | No | Unknown = key(UNKNOWN, help="What copies one file to every node.")
    imports: str | No | Unknown = key(
        UNKNOWN, help="What spares the filesystem when thousands of ranks start Python."
    )


@dataclass(frozen=True, kw_only=True)
class Container(Sourced):
    """The container that ranks run in; the supervisor stays outside."""

    command: tuple[str, ...] = key(
        (),
        help="What runs a program in it, word by word: {image} is the image, and the word {binds} "
        "stands for the words of all directories. Empty = no container.",
    )
    bind: tuple[str, ...] = key(
        (), help="Words that show it one directory, {path}, under the same name."
    )
    binds: tuple[str, ...] = key(
        (), help="Directories it sees beside the run's, the data's and the node-local one."
    )
    image: str | No = key("none", help="The image; a run's train.image wins.")
    python: str = key("python3", help="The interpreter in it, which needs exa's requirements.")
    needed: bool | Unknown = key(UNKNOWN, help="Whether torch is there in a container only.")
    note: str | None = key(None, help="What else to know, in a line.")


@dataclass(frozen=True, kw_only=True)
class Failures(Sourced):
    """What goes wrong here, and how it shows."""

    node_patterns: tuple[str, ...] = key(
        (), help="Lines of a log that name a bad node, as regular expressions with (?P<node>…)."
    )
    not_the_node: tuple[str, ...] = key(
        (), help="Lines that follow another node's death, and accuse nobody."
    )
    spares: str | None = key(None, help="What users here do about spare nodes, in a line.")
    hang_floor_s: float | Unknown = key(
        UNKNOWN,
        help="What healthy ranks may stand still for at most, as its filesystems do at times; "
        "unknown = a minute.",
        unit="seconds",
        minimum=1,
    )
    between_s: float | Unknown = key(
        UNKNOWN, help="Mean time between interrupts of a large job.", unit="seconds", minimum=0
    )
    node_requeue_s: float | No | Unknown = key(
        UNKNOWN,
        help="After which silence of a job's first node it is started again; none = never.",
        unit="seconds",
        minimum=0,
    )
