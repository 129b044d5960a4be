"""What a lab cluster is: its size, its places, and the files Slurm reads. Pure."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path

TIMERS = {
    # A dead node is noticed, a requeued job comes back and SIGKILL follows SIGTERM within
    # seconds, not minutes. cred_expire (in AuthInfo) is how long a requeued job waits.
    "SlurmctldTimeout": "10",
    "SlurmdTimeout": "10",
    "MessageTimeout": "5",
    "TCPTimeout": "2",
    "KillWait": "5",
    "MinJobAge": "300",
    "WaitTime": "0",
    "InactiveLimit": "0",
    "SchedulerParameters": "batch_sched_delay=0,sched_interval=2,bf_interval=2",
}


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A cluster. Two of different slots can run side by side on one machine.

    Attributes:
        slot: 0 to 49: picks the directory, the subnet, the ports and the interfaces' names.
        home: where its directory is; every node sees it.
        cpus, memory_mb, gpus: what a node claims to have; Slurm believes it.
        settings: parameters of slurm.conf that replace those here.
    """

    slot: int = 0
    home: str = "/tmp"
    nodes: int = 4
    cpus: int = 4
    memory_mb: int = 4000
    gpus: int = 0
    accounting: bool = False
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        return Path(self.home, f"exa-slurm-{self.slot}")

    @property
    def local(self) -> Path:
        """A directory of which each node has its own, as of a disk in it."""
        return self.root / "local"

    @property
    def names(self) -> list[str]:
        return [f"n{number}" for number in range(1, self.nodes + 1)]

    def address(self, name: str | None = None) -> str:
        """The address of a node; without a name, the login node's."""
        host = 1 if name is None else 10 + self.names.index(name)
        return f"10.{180 + self.slot}.0.{host}"

    def port(self, what: str) -> int:
        ports = ("slurmctld", "slurmd", "slurmdbd", "mariadbd")
        return 21000 + 10 * self.slot + ports.index(what)

    @property
    def bridge(self) -> str:
        return f"exa{self.slot}"

    def netns(self, name: str) -> str:
        return f"exa{self.slot}-{name}"

    def cable(self, name: str) -> str:
        """The login node's end of a node's network cable."""
        return f"exa{self.slot}-{name}"

    def file(self, *parts: str) -> Path:
        return self.root.joinpath(*parts)

    def dump(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def load(cls, text: str) -> Spec:
        return cls(**json.loads(text))


def slurm_conf(spec: Spec, login: str) -> str:
    """slurm.conf; ``login`` is this machine's own short name, where slurmctld runs."""
    root = spec.root
    values = {
        "ClusterName": f"exalab{spec.slot}",
        "SlurmctldHost": f"{login}({spec.address()})",
        "SlurmUser": "root",
        "SlurmctldPort": spec.port("slurmctld"),
        "SlurmdPort": spec.port("slurmd"),
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={root}/munge.sock,cred_expire=10",
        "StateSaveLocation": f"{root}/state",
        "SlurmdSpoolDir": f"{root}/spool/%n",
        "SlurmctldPidFile": f"{root}/slurmctld.pid",
        "SlurmdPidFile": f"{root}/spool/%n.pid",
        "SlurmctldLogFile": f"{root}/log/slurmctld.log",
        "SlurmdLogFile": f"{root}/log/%n.log",
        "SlurmctldDebug": "info",
        "SlurmdDebug": "info",
        "MpiDefault": "none",
        "SlurmdParameters": "config_overrides",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "JobAcctGatherType": "jobacct_gather/linux",
        "ReturnToService": "2",
        "PriorityType": "priority/multifactor",
        "PreemptType": "preempt/partition_prio",
        "PreemptMode": "REQUEUE",
        **TIMERS,
        **({"GresTypes": "gpu"} if spec.gpus else {}),
        **(_accounting(spec) if spec.accounting else {}),
        **spec.settings,
    }
    lines = [f"{key}={value}" for key, value in values.items()]
    gres = f" Gres=gpu:{spec.gpus}" if spec.gpus else ""
    lines += [
        f"NodeName={name} NodeAddr={spec.address(name)} CPUs={spec.cpus} Sockets=1"
        f" CoresPerSocket={spec.cpus} ThreadsPerCore=1 RealMemory={spec.memory_mb}{gres}"
        for name in spec.names
    ]
    everywhere = f"Nodes={','.join(spec.names)} State=UP DefaultTime=10"
    lines += [
        f"PartitionName=debug {everywhere} Default=YES MaxNodes=2 MaxTime=10 PreemptMode=OFF",
        f"PartitionName=prod {everywhere} MaxTime=1-0 PriorityTier=10 PreemptMode=OFF",
        f"PartitionName=preempt {everywhere} MaxTime=1-0 PreemptMode=REQUEUE GraceTime=10",
    ]
    return "\n".join(lines) + "\n"


def _accounting(spec: Spec) -> dict[str, str]:
    return {
        "AccountingStorageType": "accounting_storage/slurmdbd",
        "AccountingStorageHost": spec.address(),
        "AccountingStoragePort": str(spec.port("slurmdbd")),
        "AccountingStoragePass": f"{spec.root}/munge.sock",
        "AccountingStorageEnforce": "associations,limits,qos",
    }


def slurmdbd_conf(spec: Spec, password: str) -> str:
    return f"""\
AuthType=auth/munge
AuthInfo=socket={spec.root}/munge.sock
DbdHost=localhost
DbdPort={spec.port("slurmdbd")}
SlurmUser=root
LogFile={spec.root}/log/slurmdbd.log
PidFile={spec.root}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={spec.port("mariadbd")}
StorageUser=slurm
StoragePass={password}
StorageLoc=slurm
"""


CGROUP_CONF = "CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n"
"""slurmd looks for a cgroup file system unless told of one, and ends without; no plugin in
use here needs it."""

ACCOUNTS = """\
add cluster {cluster}
add qos quick MaxWall=00:02:00 Flags=DenyOnLimit
add account lab Description=lab Organization=lab
add user root Account=lab
modify user root set qos=normal,quick defaultqos=normal
"""
"""For sacctmgr: account ``lab``, the default QOS and a short one."""


def hosts(spec: Spec, login: str) -> str:
    """/etc/hosts as nodes see it."""
    lines = ["127.0.0.1 localhost", f"{spec.address()} {login}"]
    return "\n".join([*lines, *(f"{spec.address(name)} {name}" for name in spec.names)]) + "\n"
