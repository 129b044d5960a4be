"""Try a script's modules and prologue on this node, as a job would run them.

With an empty environment and a login shell: what works only in the terminal of the moment does
not work in a job. A success is remembered for a day, by the text and the interpreter.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import tempfile
from pathlib import Path

from exa_cli.base import cache, clock, marks, proc
from exa_cli.base.errors import Unreachable
from exa_cli.base.files import write_text
from exa_cli.base.talk import say
from exa_cli.plan.preflight import Check
from exa_cli.script.job import JobScript
from exa_cli.script.rehearsal import DONE, Rehearsal, environment, rehearsal

NAME = "environment"

TIMEOUT_S = 120.0
MEMORY_S = 86_400.0

_OFF = "script.rehearse = false leaves this out"


def rehearse(job: JobScript) -> Check:
    """The verdict on a script's modules and prologue. Runs them, unless they worked of late."""
    wanted = rehearsal(job)
    if wanted is None:
        return Check(NAME, "ok", f"no modules and no prologue; {job.python} runs this command")
    kept = _remembered(wanted)
    if kept.exists() and clock.now() - kept.stat().st_mtime < MEMORY_S:
        return Check(NAME, "ok", f"modules and prologue worked here; {job.python} has exa")
    say("trying the script's modules and prologue in a login shell on this node")
    found = _verdict(wanted)
    if found.verdict == "ok":
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_text(kept, "")
    return found


def _remembered(wanted: Rehearsal) -> Path:
    digest = hashlib.sha256(wanted.text.encode()).hexdigest()
    return cache.root(os.environ) / "rehearsed" / digest[:32]


def _verdict(wanted: Rehearsal) -> Check:
    me = pwd.getpwuid(os.getuid())
    env = environment(Path(me.pw_dir), me.pw_name, me.pw_shell)
    with tempfile.TemporaryDirectory(prefix="exa-rehearsal-") as folder:
        text, noted = Path(folder, "script.sh"), Path(folder, "stage")
        text.write_text(wanted.text, encoding="utf-8")
        argv = ["bash", "-l", str(text), str(noted)]
        env[marks.RUN_DIR] = folder  # a prologue may use it; the run itself is not there yet
        try:
            ended = proc.run(argv, timeout=TIMEOUT_S, env=env, cwd=Path(folder))
        except Unreachable as error:
            says = f"{error.what}: whether modules and prologue work is not known"
            return Check(NAME, "warning", says, _stage(wanted, noted), _OFF)
        where = _stage(wanted, noted)
    if ended.code == 0 and ended.out.rstrip().endswith(DONE):
        return Check(NAME, "ok", "modules and prologue work in a login shell on this node")
    return Check(
        NAME, "fault", _words(ended, text), where, f"mend it, or, if it works in jobs, {_OFF}"
    )


def _stage(wanted: Rehearsal, noted: Path) -> str | None:
    return wanted.stage(noted.read_text()) if noted.exists() else None


def _words(ended: proc.Finished, script: Path) -> str:
    """What a job would have said last."""
    said = (ended.err or ended.out).replace(f"{script}: ", "")
    lines = [line for line in said.splitlines() if line.strip()]
    how = f"exit status {ended.code}" if ended.code >= 0 else f"signal {-ended.code}"
    if ended.code == 0:
        how = "it ended before exa's own program began (exit 0)"
    return "the script would fail before training: " + "; ".join([how, *lines[-3:]])
