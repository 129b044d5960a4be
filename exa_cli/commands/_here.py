"""``exa submit --here``: attend a run in the present allocation until its script has ended."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

from exa_cli.base.talk import say
from exa_cli.commands._common import tell_end
from exa_cli.login import here, observe
from exa_cli.login.submit import Submission


def attend(done: Submission, each: Callable[[], object]) -> None:
    """Run the attempt here; ``each`` is called about once a second. Raises RunFailed unless the
    run has finished."""
    child = here.start(done)
    while (status := _ended(child)) is None:
        each()
    run = done.run
    view = observe.look([run], fresh=True)[0]
    silent = f"its script ended with status {status}; exa logs {run.run_id} shows why"
    tell_end(run, view.state, silent)


def _ended(child: subprocess.Popen[bytes]) -> int | None:
    """The script's exit status once it has ended. Ctrl-C reaches it as well, and it saves."""
    try:
        return child.wait(timeout=1.0)
    except subprocess.TimeoutExpired:
        return None
    except KeyboardInterrupt:
        say("interrupted: the run saves and stops")
        return None
