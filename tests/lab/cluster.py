"""A real Slurm of several nodes on one machine, for tests; with faults at the push of a button.

Debian's own slurmctld, slurmd and munged run as they are. A node is a set of namespaces (pid,
network, mount, UTS, IPC), so that jobs see several machines: other names, other addresses,
/dev/shm and process tables of their own. What stays shared is the file system, as over NFS,
except `Spec.local`. The machine itself is the login node. CPUs and memory of nodes are claimed,
not real: what a test really uses has to be small.

Everything that is ended here was started here: processes are known by pid and start time.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from lab import packages
from lab.spec import ACCOUNTS, CGROUP_CONF, Spec, hosts, slurm_conf, slurmdbd_conf

from exa_cli.base import proc
from exa_cli.base.proc import Process

_NODE = Path(__file__).with_name("node.py")
_UNSHARE = (
    "unshare",
    "--fork",
    "--kill-child",
    "--pid",
    "--mount-proc",
    "--uts",
    "--ipc",
    "--mount",
)
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_FREE = {"idle", "allocated", "mixed", "completing"}


class LabError(Exception):
    """The cluster does not do what it should; the message has the end of the log."""


class Cluster:
    """One cluster, up or not; all that is known of it is in its directory."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    @property
    def env(self) -> dict[str, str]:
        """What commands of Slurm need in their environment."""
        return {"SLURM_CONF": str(self.spec.file("slurm.conf"))}

    # -- up and down

    def up(self) -> None:
        """Bring it up; whatever an ended one left is cleared first. Raises LabError."""
        if self.is_up():
            return
        packages.ensure(self.spec.accounting)
        self.down()
        self._lay_out()
        self._start_network()
        self._start("munged", *_munged(self.spec))
        self._wait("munged", self.spec.file("munge.sock").exists)
        if self.spec.accounting:
            self.dbd_start()
            self._fill_accounts()
        self.ctl_start()
        for name in self.spec.names:
            self._start_node(name)
        self._wait("slurmctld", self._all_free)

    def down(self) -> None:
        """End all of it and undo every change. What is not there is no error."""
        for record in sorted(self._records(), key=_ends_first):
            self._stop(record, signal.SIGKILL if record.startswith("node-") else signal.SIGTERM)
        for name in self._laid_out().names:
            self._cut_off(name)
        _quiet("ip", "link", "del", self.spec.bridge)
        shutil.rmtree(self.spec.root, ignore_errors=True)

    def _laid_out(self) -> Spec:
        """What is in this slot, which may be what another session left."""
        path = self.spec.file("spec.json")
        return Spec.load(path.read_text()) if path.exists() else self.spec

    def is_up(self) -> bool:
        return bool(self._records()) and all(self.alive(name) for name in self._expected())

    def status(self) -> dict[str, str]:
        """Each part, and whether it runs."""
        return {name: "runs" if self.alive(name) else "is gone" for name in self._expected()}

    def calm(self) -> None:
        """Between two tests: no jobs, every part runs, every node free."""
        if self.spec.accounting:
            self.dbd_start()
        self.ctl_start()
        self.run("scancel", "--user=root", check=False)
        for name in self.spec.names:
            self.plug(name)
            self.node_start(name)
        self._wait("slurmctld", lambda: not self.run("squeue", "-h").strip() and self._all_free())

    # -- what tests do with it

    def run(
        self,
        *argv: str | Path,
        check: bool = True,
        timeout: float = 60,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: str = "",
    ) -> str:
        """A command on the login node; its standard output. Raises LabError when it fails."""
        words = [str(word) for word in argv]
        whole = {**os.environ, **self.env, **(env or {})}
        ended = proc.run(words, timeout=timeout, env=whole, cwd=cwd, stdin=stdin)
        if check and ended.code:
            raise LabError(f"{words}: status {ended.code}\n{ended.out}{ended.err}")
        return ended.out

    def node_kill(self, name: str) -> None:
        """A power cut: every process of the node dies and its address goes away."""
        self._stop(f"node-{name}", signal.SIGKILL)
        self._cut_off(name)

    def node_start(self, name: str) -> None:
        """Boot a node that is off; start the slurmd of one that is on."""
        if self.alive(f"node-{name}"):
            proc.send(self._init(name), signal.SIGUSR2)
        else:
            self.node_kill(name)
            self._start_node(name)

    def daemon_kill(self, name: str) -> None:
        """slurmd crashes; what runs on the node goes on."""
        proc.send(self._init(name), signal.SIGUSR1)

    def unplug(self, name: str) -> None:
        """Pull the network cable; what runs on the node goes on."""
        _ip("link", "set", self.spec.cable(name), "down")

    def plug(self, name: str) -> None:
        if Path("/sys/class/net", self.spec.cable(name)).exists():
            _ip("link", "set", self.spec.cable(name), "up")

    def ctl_stop(self) -> None:
        self._stop("slurmctld")

    def ctl_start(self) -> None:
        if not self.alive("slurmctld"):
            self._start("slurmctld", "slurmctld", "-D", "-f", self.spec.file("slurm.conf"))
            self._wait(
                "slurmctld", lambda: answers(self.spec.address(), self.spec.port("slurmctld"))
            )

    @contextlib.contextmanager
    def ctl_away(self) -> Iterator[None]:
        """No controller meanwhile; it is back whatever happens."""
        self.ctl_stop()
        try:
            yield
        finally:
            self.ctl_start()

    def dbd_stop(self) -> None:
        self._stop("slurmdbd")

    def dbd_start(self) -> None:
        if not self.alive("mariadbd"):
            self._start("mariadbd", *_mariadbd(self.spec))
            self._wait("mariadbd", lambda: answers("127.0.0.1", self.spec.port("mariadbd")))
        if not self.alive("slurmdbd"):
            self._start("slurmdbd", "slurmdbd", "-D")
            self._wait("slurmdbd", lambda: answers("127.0.0.1", self.spec.port("slurmdbd")))

    def states(self) -> dict[str, str]:
        """Node → its state, in Slurm's words."""
        lines = self.run("sinfo", "-h", "-N", "-o", "%N %T", check=False, timeout=20).splitlines()
        return dict(line.split() for line in lines)

    def _all_free(self) -> bool:
        """Whether every node can take a job; one that a test left drained is put back."""
        states = self.states()
        for name, state in states.items():
            if state.startswith(("drain", "down")):
                self.run("scontrol", "update", f"NodeName={name}", "State=RESUME", check=False)
        return len(states) == self.spec.nodes and set(states.values()) <= _FREE

    # -- parts

    def _lay_out(self) -> None:
        spec, login = self.spec, socket.gethostname().split(".")[0]
        for folder in ("log", "run", "state", "spool", "local"):
            spec.file(folder).mkdir(parents=True)
        spec.root.chmod(0o755)
        texts = {
            "spec.json": spec.dump(),
            "slurm.conf": slurm_conf(spec, login),
            "cgroup.conf": CGROUP_CONF,
            "hosts": hosts(spec, login),
        }
        if spec.gpus:
            texts["gres.conf"] = (
                f"AutoDetect=off\nName=gpu File={spec.root}/gpu[0-{spec.gpus - 1}]\n"
            )
        for number in range(spec.gpus):
            # Slurm counts device files; these are copies of /dev/null.
            os.mknod(spec.file(f"gpu{number}"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
        for name, text in texts.items():
            spec.file(name).write_text(text)
        _secret(spec.file("munge.key"), secrets.token_bytes(64))

    def _start_network(self) -> None:
        bridge = self.spec.bridge
        _ip("link", "add", bridge, "type", "bridge", "forward_delay", "0")
        _ip("address", "add", f"{self.spec.address()}/24", "dev", bridge)
        _ip("link", "set", bridge, "up")

    def _start_node(self, name: str) -> None:
        """A network of its own, then a first process in it."""
        spec, netns, cable = self.spec, self.spec.netns(name), self.spec.cable(name)
        spec.file("spool", name).mkdir(parents=True, exist_ok=True)
        _ip("netns", "add", netns)
        _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", netns)
        _ip("link", "set", cable, "master", spec.bridge, "up")
        _ip("-n", netns, "address", "add", f"{spec.address(name)}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", netns, "link", "set", device, "up")
        init = (*_UNSHARE, sys.executable, str(_NODE), str(spec.root), name)
        self._start(f"node-{name}", "ip", "netns", "exec", netns, *init)

    def _cut_off(self, name: str) -> None:
        """Take a node's network away. The kernel is slow to clear a namespace that nothing is in
        any more; its cable goes at once when it is removed itself."""
        _quiet("ip", "link", "del", self.spec.cable(name))
        _quiet("ip", "netns", "del", self.spec.netns(name))

    def _init(self, name: str) -> Process:
        """The node's first process: the child of the one that was started here."""
        outer = self._recorded(f"node-{name}")
        for pid in proc.pids() if outer and proc.alive(outer) else ():
            found = proc.stat(pid)
            if found and outer and found.parent == outer.pid and (init := proc.identify(pid)):
                return init
        raise LabError(f"the node {name} is off")

    def _fill_accounts(self) -> None:
        commands = ACCOUNTS.format(cluster=f"exalab{self.spec.slot}")
        self.run("sacctmgr", "-i", stdin=commands)
        if "root" not in self.run("sacctmgr", "-nP", "show", "assoc", "format=user"):
            raise LabError("sacctmgr did not take the accounts")

    # -- processes

    def _start(self, name: str, *argv: str | Path) -> None:
        keep = {key: value for key, value in os.environ.items() if key in ("LANG", "LC_ALL", "TZ")}
        with open(self.spec.file("log", f"{name}.out"), "ab") as log:
            started = subprocess.Popen(
                [str(word) for word in argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                env={**keep, **self.env, "PATH": _PATH, "HOME": "/root"},
            )
        process = proc.identify(started.pid)
        if process:
            self.spec.file("run", f"{name}.json").write_text(json.dumps(process.to_dict()))

    def _stop(self, name: str, signum: int = signal.SIGTERM, patience: float = 10.0) -> None:
        process = self._recorded(name)
        if process is None:
            return
        give_up = time.monotonic() + patience
        proc.send(process, signum)
        while proc.alive(process):
            if time.monotonic() > give_up:
                proc.send(process, signal.SIGKILL)
            time.sleep(0.02)
            proc.reap(process.pid)
        self.spec.file("run", f"{name}.json").unlink(missing_ok=True)

    def alive(self, name: str) -> bool:
        process = self._recorded(name)
        return process is not None and proc.alive(process)

    def _recorded(self, name: str) -> Process | None:
        try:
            return Process.from_dict(json.loads(self.spec.file("run", f"{name}.json").read_text()))
        except (OSError, ValueError):
            return None

    def _records(self) -> list[str]:
        return [path.stem for path in self.spec.file("run").glob("*.json")]

    def _expected(self) -> list[str]:
        database = ["mariadbd", "slurmdbd"] if self.spec.accounting else []
        return ["munged", *database, "slurmctld", *(f"node-{name}" for name in self.spec.names)]

    def wait_until(self, ready: Callable[[], object], seconds: float = 90) -> None:
        """Wait for something that Slurm takes its time for. Raises LabError."""
        give_up = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > give_up:
                raise LabError(f"waited {seconds:g} s in vain: {self.states()}")
            time.sleep(0.1)

    def _wait(self, name: str, ready: Callable[[], bool], seconds: float = 60) -> None:
        give_up = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > give_up or not self.alive(name):
                raise LabError(f"{name} is not ready: {self.status()}\n{self._log(name)}")
            time.sleep(0.05)

    def _log(self, name: str) -> str:
        path = self.spec.file("log", f"{name}.out")
        return (
            "\n".join(path.read_text(errors="replace").splitlines()[-15:]) if path.exists() else ""
        )


def _ends_first(record: str) -> int:
    """Slurm before its nodes, so that nothing is noted as a failure; munged last."""
    order = ("slurmctld", "node-", "slurmdbd", "mariadbd", "munged")
    return next(n for n, name in enumerate(order) if record.startswith(name))


def _munged(spec: Spec) -> Sequence[str | Path]:
    places = {"key-file": "munge.key", "socket": "munge.sock", "pid-file": "munge.pid"}
    options = [f"--{option}={spec.file(name)}" for option, name in places.items()]
    logs = [
        f"--log-file={spec.file('log', 'munged.log')}",
        f"--seed-file={spec.file('munge.seed')}",
    ]
    return ["munged", "--foreground", "--force", *options, *logs]


def _mariadbd(spec: Spec) -> Sequence[str | Path]:
    """A database whose data is of no value: speed before durability."""
    data, password = spec.file("db"), secrets.token_hex(12)
    if not data.exists():
        data.mkdir()
        made = ("mariadb-install-db", "--no-defaults", f"--datadir={data}", "--user=root")
        fast = ("--auth-root-authentication-method=normal", "--skip-test-db")
        subprocess.run(
            [*made, *fast, "--innodb-log-file-size=16M"], check=True, capture_output=True
        )
        sql = (
            "CREATE DATABASE IF NOT EXISTS slurm;\n"
            f"CREATE USER IF NOT EXISTS slurm@'127.0.0.1' IDENTIFIED BY '{password}';\n"
            "GRANT ALL ON slurm.* TO slurm@'127.0.0.1';\n"
        )
        _secret(spec.file("init.sql"), sql.encode())
        _secret(spec.file("slurmdbd.conf"), slurmdbd_conf(spec, password).encode())
    return [
        "mariadbd", "--no-defaults", "--user=root", f"--datadir={data}",
        f"--init-file={spec.file('init.sql')}", f"--socket={spec.file('db.sock')}",
        f"--pid-file={spec.file('db.pid')}", "--bind-address=127.0.0.1",
        f"--port={spec.port('mariadbd')}", "--skip-name-resolve", "--skip-log-bin",
        "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M",
        "--innodb-flush-log-at-trx-commit=0", "--innodb-lock-wait-timeout=900",
    ]  # fmt: skip


def _secret(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode:
        raise LabError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def _quiet(*argv: str) -> None:
    """For what may be gone already."""
    subprocess.run(argv, capture_output=True)


def answers(host: str, port: int) -> bool:
    """Whether something listens there."""
    try:
        socket.create_connection((host, port), 0.5).close()
    except OSError:
        return False
    return True
