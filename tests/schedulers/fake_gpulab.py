"""A fake ``gpulab-cli``, after the client's source: it keeps jobs as files and runs nothing."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import uuid
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from fake_cluster import FakeCluster, option

# Fault → exit status and standard error of any command.
FAULTS = {
    "down": (
        1,
        "Traceback (most recent call last):\n  …\nrequests.exceptions.ConnectionError: "
        "HTTPSConnectionPool: Max retries exceeded (Caused by NewConnectionError)\n",
    ),
    "timeout": (
        1,
        "Traceback (most recent call last):\n  …\nrequests.exceptions.ReadTimeout: "
        "HTTPSConnectionPool: Read timed out. (read timeout=30)\n",
    ),
    "project": (
        1,
        "Error: No permission to submit job. Did you specify a correct project? ('no')\n",
    ),
    "parse": (
        1,
        "Error: Could not parse provided Job (Use `gpulab-cli --debug submit ...` for more "
        "details)\n",
    ),
    "html": (0, ""),
}


class FakeGpuLab(FakeCluster):
    """One service in a folder."""

    program = __file__
    commands = ("gpulab-cli",)
    running = "RUNNING"
    own = ("GPULAB_",)

    @property
    def env(self) -> dict[str, str]:
        return {**super().env, "GPULAB_CERT": "/cert.pem"}

    def plant(self, status: str, name: str = "exa-planted-001", **fields: Any) -> str:
        """A job in a state. Its id."""
        job = {"uuid": str(uuid.uuid4()), "name": name, "status": status, "made": time.time()}
        self.add({**job, "known": True, "listed": True, "first": None, "restarts": 0, **fields})
        return job["uuid"]

    def uuids(self) -> list[str]:
        return [job["uuid"] for job in self.all()]

    def asked(self) -> list[str]:
        """The verb of each call."""
        return [argv[1] for argv in self.calls()]


def main(argv: list[str]) -> int:
    """Be the command."""
    service, words = FakeGpuLab(Path(argv[0])), argv[2:]
    service.note("gpulab-cli", words)
    verb = words[0]
    kind = service.next_fault(verb)
    fault, _, made = kind.partition("+")
    if fault == "hang":
        signal.pause()
    text = sys.stdin.read() if verb == "submit" else ""
    if verb == "submit" and (made or fault not in FAULTS):
        job = service.plant("QUEUED", json.loads(text)["name"], request=json.loads(text))
        print(job if not made else "", end="\n" if not made else "")
    if fault in FAULTS:
        code, err = FAULTS[fault]
        sys.stderr.write(err)
        sys.stdout.write("<html>busy</html>" if fault == "html" else "")
        return code
    return {"submit": lambda *_: 0, "jobs": _jobs, "cancel": _cancel}[verb](service, words)


def _jobs(service: FakeGpuLab, words: list[str]) -> int:
    if "--strict-user" in words:
        count = int(option(words, "--max-count"))
        listed = [job for job in service.all() if job["known"] and job["listed"]][-count:]
        print(json.dumps([_shown(job) for job in listed], indent=4))
        return 0
    found = [job for job in service.all() if job["uuid"] == words[1] and job["known"]]
    if not found:
        text = "Could not retrieve info for job '%s': Job not found"
        sys.stderr.write(f"Error: {text % words[1]}\n")
        return 1
    print(json.dumps(_shown(found[0]), indent=4))
    return 0


def _shown(job: dict[str, Any]) -> dict[str, Any]:
    made = datetime.fromtimestamp(job["made"], timezone.utc).isoformat()
    again = {"initialJobUuid": job["first"], "restartCount": job["restarts"]}
    times = {"created": made, "statusUpdated": made, "RUNNING": made, job["status"]: made}
    return {
        "uuid": job["uuid"], "name": job["name"], "restartInfo": again if job["first"] else None,
        "state": {"status": job["status"], "eventTimes": times},
    }  # fmt: skip


def _cancel(service: FakeGpuLab, words: list[str]) -> int:
    for job in service.all():
        if job["uuid"] == words[1]:
            service.change(job["id"], status="CANCELLED")
    print(words[1])
    return 0


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main(sys.argv[1:]))
