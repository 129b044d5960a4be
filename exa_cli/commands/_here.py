"""``exa submit --here``: attend a run in the present allocation until its script has ended."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

from exa_cli.base.errors import RunFailed
from exa_cli.base.talk import say
from exa_cli.login import here, observe
from exa_cli.login.submit import Submission


def attend(done: Submission, each: Callable[[], object]) -> None:
    """Run the attempt here; ``each`` is called about once a second. Raises RunFailed unless the
    run has finished."""
    child = here.start(done)
    while (status := _ended(child)) is None:
        each()
    view = observe.look([done.run], fresh=True)[0]
    if view.state.state == "done":
        say(f"{done.run.run_id} is done: {view.state.step} steps")
        return
    last = view.state.attempts[-1]
    silent = f"its script ended with status {status}; exa logs {done.run.run_id} shows why"
    raise RunFailed(
        f"{done.run.run_id} has ended: {last.cause or 'nobody said why'}",
        where="; ".join(last.evidence[:2]) or silent,
        hint=f"exa resume {done.run.run_id} goes on in a job of its own",
    )


def _ended(child: subprocess.Popen[bytes]) -> int | None:
    """The script's exit status once it has ended. Ctrl-C reaches it as well, and it saves."""
    try:
        return child.wait(timeout=1.0)
    except subprocess.TimeoutExpired:
        return None
    except KeyboardInterrupt:
        say("interrupted: the run saves and stops")
        return None
