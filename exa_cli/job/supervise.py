"""The supervisor of an attempt: its lives, one after the other, as long as the allocation serves.

claim → sweep → probe → stage → launch → watch → classify → decide → record, and again after a
failure that the allocation can bear. Everything it learns goes into a journal for each life; if
it dies, the next life and the login node read what it got done.
"""

from __future__ import annotations

import errno
import os
import platform
from dataclasses import dataclass
from typing import Any

from exa_cli.base import clock
from exa_cli.base.errors import ExaError
from exa_cli.base.files import read_json
from exa_cli.base.talk import say
from exa_cli.checkpoint import folder, verify
from exa_cli.job import end, epilogue, launch, lives, mending
from exa_cli.job import program as programs
from exa_cli.job.allocation import Allocation, open_allocation
from exa_cli.job.hang import HangWatch, Settings, sizes, wait_for_stacks
from exa_cli.job.lives import Life
from exa_cli.job.node import Swept
from exa_cli.job.nodes import Nodes
from exa_cli.job.notice import Notice
from exa_cli.job.watch import Watch, needed_s, stop_reason
from exa_cli.policy.cause import Ended, Health, Seen, classify
from exa_cli.policy.hang import Hang
from exa_cli.policy.next import Then
from exa_cli.runs import journal as journals
from exa_cli.runs.claims import Claim, claim_next
from exa_cli.runs.journal import Journal
from exa_cli.runs.rundir import RunDir
from exa_cli.schedulers import inside

NOTHING_MORE, CONTINUE, STOP = 0, 75, 70
"""Exit codes of ``exa job``: nothing more to do, can go on, a person has to look."""

_EXITS = {"nothing": NOTHING_MORE, "resubmit": CONTINUE, "stop": STOP}


def supervise(run: RunDir, attempt: str, life: int) -> int:
    """Live an attempt's lives in this allocation; the exit code of ``exa job``."""
    notice = Notice()
    notice.listen()
    lives.hand_over(run, attempt)
    while True:
        lived = _live_once(Life(run, attempt, life), notice)
        if lived is None:
            return NOTHING_MORE
        if lived.then.action != "relaunch":
            break
        life = lives.begin(run, attempt, life)
        say(f"life {life} in the same allocation, after {lived.ended.cause}")
    lives.hand_over(run, attempt, lived.then)
    _epilogue(run, attempt, lived.ended.cause, lived.step)
    return _EXITS[lived.then.action]


@dataclass(frozen=True)
class _Lived:
    """How a life ended, its last step, and what comes next."""

    ended: Ended
    step: int | None
    then: Then


def _live_once(life: Life, notice: Notice) -> _Lived | None:
    """Live one life and write down its end; None when there was nothing to live for."""
    role = f"job-{life.attempt}-{life.number}"
    with Journal(life.run.path, journals.writer_name(role)) as journal:
        if needless := lives.needless(life, os.environ):
            journal.append(needless.kind, **needless.fields)
            say(needless.words)
            return None
        journal.append("life", **_myself(life))
        here: Allocation | None = None
        try:
            here = open_allocation(life.run, life.attempt, life.number)
            seen, step = _live(here, journal, notice)
        except (ExaError, OSError) as error:
            seen, step = Seen(health=Health("start", str(error), _cause_of(error))), None
        ended = classify(seen)
        lost = list(seen.lost_nodes) if ended.cause == "node-failure" else []
        record = {"cause": ended.cause, "evidence": list(ended.evidence), "step": step}
        record |= {"lost": lost} if lost else {}
        record |= {"own_program": True} if here and here.own_program else {}
        then = lives.decide(life, record, here, notice)
        journal.append("ended", **record, then=then.record())
    say("\n  ".join([f"ended: {ended.cause}", *ended.evidence, f"then: {then.words}"]))
    return _Lived(ended, step, then)


def _epilogue(run: RunDir, attempt: str, cause: str, step: int | None) -> None:
    """What the user wants done at the end. Whatever comes of it, the end is recorded already."""
    try:
        commands = read_json(run.attempt(attempt) / "request.json").get("epilogue")
    except (OSError, ValueError):
        return  # that is why the attempt ended: it is told
    if commands:
        say(f"epilogue: {epilogue.run(commands, run.path, cause, step)}")


def _myself(life: Life) -> dict[str, Any]:
    me = {"host": platform.node(), "pid": os.getpid()}
    me |= {"attempt": life.attempt, "life": life.number}
    again = inside.restarts(os.environ)
    return me if again is None else {**me, "restarts": again}


def _cause_of(error: BaseException | None) -> str:
    """What an error before the launch means: out of space wherever in its chain that stands."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return "disk-full"
        error = error.__cause__
    return "launch-failed"


def _live(here: Allocation, journal: Journal, notice: Notice) -> tuple[Seen, int | None]:
    """Everything between the first and the last journal line: what was seen, the last step."""
    if end.was_cancelled(here):
        return Seen(cancelled=True), None
    nodes, seen = launch.nodes_of(here), Seen()
    try:
        seen = _use(here, nodes, journal, notice)
    finally:
        left = nodes.tidy(end.logs_to_keep(here, seen))
        _say_swept(left.swept)
    if here.own_program:
        return end.farewell(seen, left), programs.progress(here).step
    return end.farewell(seen, left), here.plan["train"]["steps"] if seen.done else left.step


def _use(here: Allocation, nodes: Nodes, journal: Journal, notice: Notice) -> Seen:
    """Everything that needs the nodes."""
    _say_swept(nodes.sweep())
    if any(event.kind == "done" for event in journals.read(here.run.path)):
        return Seen(done=True)
    bad = _claim(here, journal) or _prepare(here, nodes, journal)
    if notice.signal:
        return _stopped_early(here, notice.signal)
    return Seen(health=bad) if bad else _run_ranks(here, nodes, journal, notice)


def _stopped_early(here: Allocation, notice: str) -> Seen:
    """A notice before any rank ran; whatever else went wrong, the notice explains it."""
    reason = stop_reason(here.limits(), notice, end.was_cancelled(here), clock.now())
    return Seen(cancelled=reason == "cancelled", stopped_for=reason)


def _claim(here: Allocation, journal: Journal) -> Health | None:
    """Claim the next epoch and write down what ranks have to know. A refusal, or None."""
    run, back = here.run, lives.goes_back(here)
    mending.repair_all(run.checkpoints, journal)
    aside: tuple[str, ...] = ()

    def accepted() -> tuple[str, ...]:
        nonlocal aside
        found = launch.choice(run).candidates
        aside = found[:1] if back and len(found) > 1 else ()
        return found[len(aside) :]

    claim = claim_next(run.path, here.attempt, here.life, accepted)
    journal.append("claimed", epoch=claim.epoch, accepts=list(claim.accepts))
    for name in aside:
        journal.append("set-aside", name=name)
        say(f"{name} is set aside: the run failed of it, or after it, twice alike")
    if left := folder.sweep_incomplete(run.checkpoints, claim.epoch):
        journal.append("swept", names=[str(name) for name in left])
    bad = _without_any(here, claim, journal)
    launch.write_record(here, claim.epoch, _candidates(here, claim))
    return bad


def _without_any(here: Allocation, claim: Claim, journal: Journal) -> Health | None:
    """Refuse to begin again at step 0 while committed checkpoints exist that cannot be read."""
    skipped = launch.choice(here.run).skipped
    for skip in skipped:
        journal.append("skipped", name=skip.name, reason=skip.reason)
    damaged = [s for s in skipped if s.reason.startswith(("damaged", "repairable"))]
    if claim.accepts or not damaged or here.request.get("from_scratch"):
        return None
    text = "; ".join(f"{s.name}: {s.reason}" for s in damaged)
    hint = "; exa ckpt repair helps" if any(s.reason.startswith("rep") for s in damaged) else ""
    return Health("checkpoints", f"every committed checkpoint is damaged: {text}{hint}", "stopped")


def _candidates(here: Allocation, claim: Claim) -> tuple[str, ...]:
    """What ranks may load. They verify every chunk themselves and stop when nothing is good; a
    user who forced the run on wants it to begin again instead, so the bad ones go first."""
    if not here.request.get("from_scratch"):
        return claim.accepts
    root = here.run.checkpoints
    return tuple(n for n in claim.accepts if verify.verify(root / n).verdict == "good")


def _prepare(here: Allocation, nodes: Nodes, journal: Journal) -> Health | None:
    """Health, then data on every node. A refusal, or None."""
    if lives.proven(here):
        say("health: not looked at again, ranks trained on these nodes a moment ago")
    else:
        what = "python" if here.own_program else "python, torch"
        say(f"health: {what}, space, write access, ranks can talk")
        if bad := launch.probe(here):
            return bad
    journal.append("healthy", world=here.world)
    staged_nodes = nodes.stage()
    for node, staged in [] if here.own_program else staged_nodes:
        verb = "copied and verified" if staged.copied else "already there, verified"
        say(f"data on {node}: {verb}, {staged.bytes / 1e6:.1f} MB, {staged.seconds:.2f} s")
        journal.append(
            "staged", node=node, copied=staged.copied, bytes=staged.bytes, seconds=staged.seconds
        )
    return None


def _run_ranks(here: Allocation, nodes: Nodes, journal: Journal, notice: Notice) -> Seen:
    watch = Watch(here.folder, here.limits(), notice, lambda: end.was_cancelled(here))
    wish, hangs = end.Wish(here), _hang_watch(here)

    saves = end.SaveTimes(here)

    def look() -> None:
        glance = nodes.look()
        if saves.is_due():
            steps = tuple(hangs.steps_s) if hangs else ()
            watch.limits = here.limits(needed_s(saves.seconds(), steps))
        notice.take(glance.notice or wish.notice())
        if glance.beats and hangs and watch.hang is None:
            found = hangs.look(glance.beats, glance.heard)
            watch.hang = _hung(here, nodes, found, journal) if found else None
        for node in glance.silent:
            journal.append("silent", node=node)
            say(f"the agent on {node} gives no sign any more; its ranks go on")

    before = programs.progress(here)
    with launch.start(here) as ranks:
        journal.append("launched", pid=ranks.pid, argv=launch.rank_argv(here))
        status = watch.until_end(ranks, look)
    if here.own_program:
        programs.settle(here, journal, status, watch.reason, before)
    return end.gather(here, status, watch.reason, watch.hang)


def _hang_watch(here: Allocation) -> HangWatch | None:
    """What looks for hangs; None where the policy wants none, or nothing is known of progress."""
    asked = here.plan["policy"].get("hang")
    if asked is None or not asked["watch"] or here.own_program:
        return None
    return HangWatch(Settings(asked["fixed_s"], asked["floor_s"]), here.run.checkpoints)


def _hung(here: Allocation, nodes: Nodes, found: Hang, journal: Journal) -> str:
    """Have the ranks write down where they stand, before they are ended; what is to be said."""
    folder, ranks = here.folder / "stacks", range(here.world)
    say(f"hang: {found.words}; saving the stacks of all ranks")
    before = sizes(folder, ranks)
    nodes.stacks()
    mute = wait_for_stacks(folder, ranks, before)
    words = found.words
    if mute:
        words += f"; no stack from rank {', '.join(map(str, mute))}: stopped, or in the kernel"
    journal.append("hung", reason=words, ranks=mute or list(found.ranks))
    return words


def _say_swept(swept: Swept) -> None:
    if swept.processes or swept.segments:
        say(f"swept {swept.processes} left-over processes, {swept.segments} shared-memory segments")
