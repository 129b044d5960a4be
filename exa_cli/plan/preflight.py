"""What would make a job fail, looked for before it is submitted. Pure: facts in, checks out.

Every check gives its verdict whatever the others say, so that a user hears of all faults at
once. What could not be looked at is "not checked", and what only might go wrong is a warning.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from exa_cli.arith.report import short
from exa_cli.base.errors import ExaError, Invalid
from exa_cli.plan.sizes import Sizes
from exa_cli.sites.binding import Bound, Hardware, findings
from exa_cli.sites.schema import FILL_IN, SiteProfile
from exa_cli.spec import times
from exa_cli.spec.declare import UNKNOWN, nearest
from exa_cli.spec.runfile import Resources
from exa_cli.spec.toml import TomlDoc

Verdict = Literal["ok", "warning", "fault", "not checked"]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at, or could not be: ``says`` is what was found."""

    name: str
    verdict: Verdict
    says: str
    where: str | None = None
    hint: str | None = None

    def error(self) -> Invalid:
        return Invalid(self.says, where=self.where, hint=self.hint)


@dataclass(frozen=True, kw_only=True)
class Place:
    """What was seen of a path.

    Attributes:
        path: what was looked at. there: the part of it that exists.
        trouble: why it cannot be used at all, None when it can.
        readable, writable: of what exists.
        free_bytes, free_files: for us on its filesystem; None where it does not tell.
        unseen: why the filesystem does not tell.
    """

    path: str
    there: str
    trouble: str | None = None
    readable: bool = True
    writable: bool = True
    free_bytes: int | None = None
    free_files: int | None = None
    unseen: str | None = None


@dataclass(frozen=True, kw_only=True)
class Data:
    """The data: prepared already or not; ``bytes`` of what is staged, None when unknown."""

    path: str
    prepared: bool
    bytes: int | None


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All that the checks look at.

    Attributes:
        profile, resources: the site, and what is asked of it; ``doc`` knows the places of keys.
        tag: the job's name.
        stop_before_s, sizes: None when the run could not be laid out.
        data: None when there is none at the path given.
        run_place, data_place: None when they were not looked at.
        rendered: whether the script could be written; None when that was not tried.
        program: the user's own that runs in place of the trainer; None = exa's trainer.
        binding: how the ranks of a node are bound; None when that is not known.
        expressible: words of a request that exa can write for a batch system.
    """

    profile: SiteProfile
    resources: Resources
    doc: TomlDoc
    tag: str
    stop_before_s: int | None
    sizes: Sizes | None
    data: Data | None
    run_place: Place | None
    data_place: Place | None
    rendered: bool | None
    program: str | None = None
    binding: Bound | None = None
    expressible: frozenset[str]

    @property
    def site(self) -> str:
        return self.profile.site.name

    def where(self, key: str) -> str:
        return self.doc.where(("resources", key))


NAMES = {
    "pbs": (230, r"[A-Za-z0-9+._-]+", "letters, digits and + - . _"),
    "slurm": (1024, r"[^\x00-\x1f/]+", "no slash and no control character"),
}
"""Batch system → longest job name, its pattern, the same in words. PBS: 231 characters are
refused (openpbs recording 16b). Slurm: 1025 are, and a ``/`` breaks ``%x`` in names of output
files (slurm recording 02)."""

PBS_SHOWN = 15
"""Characters of a job's name in PBS's own lists."""

ACCOUNTS = {"gpulab": "owner.projectUrn", "slurm": "account", "pbs": "A"}
"""Batch system → its directive that says who pays. Others have none."""

JOB_IDS = {
    "pbs": (r"\d+(\[\d*\])?(\.[A-Za-z0-9.-]+)?", "NUMBER, NUMBER[] or NUMBER.SERVER"),
    "slurm": (r"\d+(_\d+)?(\+\d+)?", "NUMBER, NUMBER_TASK or NUMBER+COMPONENT"),
}
"""Batch system → what the id of a job looks like, and the same in words."""


def preflight(facts: Facts) -> tuple[Check, ...]:
    """All checks, in the order in which they are shown."""
    return tuple(found for check in CHECKS for found in check(facts))


def failed(name: str, error: ExaError) -> Check:
    """The fault that an error is."""
    return Check(name, "fault", error.what, error.where, error.hint)


def account(facts: Facts) -> Iterator[Check]:
    """Writing the script finds a missing account too, unless it comes to that."""
    key = ACCOUNTS.get(facts.profile.scheduler.kind)
    said = facts.profile.directives.get(key, UNKNOWN) if key else False
    given = facts.resources.account or (said not in (False, FILL_IN, UNKNOWN) and str(said))
    if given:
        yield Check("account", "ok", given)
    elif said == FILL_IN and facts.rendered is None:
        says, hint = f"{facts.site} asks for an account", "--account NAME, or resources.account"
        yield Check("account", "fault", says, facts.where("account"), hint)
    elif said == FILL_IN and facts.rendered:
        yield Check("account", "ok", "in the run's own header lines")
    elif said == UNKNOWN:
        says = f"none given; whether {facts.site} asks for one is unknown"
        yield Check("account", "not checked", says)


def filesystems(facts: Facts) -> Iterator[Check]:
    given, known = facts.resources.filesystems, facts.profile.demands.filesystems
    where, listed = facts.where("filesystems"), ", ".join(known)
    if not known and not given:
        return
    if not known:
        yield _fault("filesystems", f"{facts.site} has no names for filesystems", where)
        return
    if not given:
        hint = f'resources.filesystems = ["{known[0]}"]; there are: {listed}'
        says = f"{facts.site} asks a job to name the filesystems it uses"
        yield Check("filesystems", "fault", says, where, hint)
    for name in given:
        if name in known:
            yield Check("filesystems", "ok", name)
        else:
            says = f"{facts.site} has no filesystem {name!r}"
            yield Check("filesystems", "fault", says, where, nearest(name, known))
    yield from _expressible(facts, "filesystems")


def job_name(facts: Facts) -> Iterator[Check]:
    kind, size = facts.profile.scheduler.kind, len(facts.tag)
    longest, pattern, form = NAMES.get(kind, (None, r"[^\x00-\x1f]+", "no control character"))
    if longest is not None and size > longest:
        says = f"{kind} takes {longest} characters of a job's name; this one has {size}"
        yield Check("job name", "fault", says, "--name", "give the run a shorter name")
    if not re.fullmatch(pattern, facts.tag):
        says, hint = f"{kind} does not take the job name {facts.tag!r}", f"use {form}"
        yield Check("job name", "fault", says, "--name", hint)
    elif longest is None or size <= longest:
        cut = kind == "pbs" and size > PBS_SHOWN
        seen = f"; shown as {facts.tag[:PBS_SHOWN]} in PBS's lists" if cut else ""
        yield Check("job name", "ok", facts.tag + seen)


def walltime(facts: Facts) -> Iterator[Check]:
    asked, least = facts.resources.walltime, facts.profile.demands.min_walltime
    seconds, where = times.seconds(asked), facts.where("walltime")
    if seconds == 0:
        yield _fault("walltime", "a job of no time at all cannot run", where)
    elif least != UNKNOWN and seconds < times.seconds(least):
        hint = f"--walltime {least} or more"
        yield Check("walltime", "fault", f"{facts.site} takes no job under {least}", where, hint)
    elif facts.stop_before_s is not None and facts.stop_before_s >= seconds:
        says = f"the run stops {facts.stop_before_s} s before its end, so it would hardly train"
        hint = "a longer walltime, or a shorter policy.stop_before"
        yield Check("walltime", "warning", says, where, hint)
    else:
        yield Check("walltime", "ok", asked)


def dependencies(facts: Facts) -> Iterator[Check]:
    given, where, kind = facts.resources.after, facts.where("after"), facts.profile.scheduler.kind
    if not given:
        return
    if facts.profile.preemption.chaining is False:
        yield _fault("after", f"on {facts.site} no job can wait for another", where)
        return
    pattern, form = JOB_IDS.get(kind, (r"[^\s:,]+", "no blank, colon or comma"))
    for job in given:
        if not re.fullmatch(pattern, job):
            yield Check("after", "fault", f"{job!r} is no job id of {kind}", where, f"form: {form}")
        else:
            says = f"{job}: well-formed; whether there is such a job is not known"
            yield Check("after", "not checked", says)
    yield from _expressible(facts, "after")


def run_directory(facts: Facts) -> Iterator[Check]:
    place = facts.run_place
    hint = "$EXA_RUNS names the folder of runs; it must be writable"
    if place is None:
        yield Check("run directory", "not checked", "was not looked at")
    elif place.trouble:
        yield Check("run directory", "fault", f"cannot be made: {place.trouble}", place.path, hint)
    elif not place.writable:
        yield Check("run directory", "fault", f"{place.there} is not writable", place.path, hint)
    else:
        yield Check("run directory", "ok", place.path)


def space(facts: Facts) -> Iterator[Check]:
    """Bytes for the checkpoints, and directory entries for their files."""
    need = facts.sizes
    if facts.program:
        return  # what it writes is its own
    if need is None:
        yield Check("space", "not checked", "what checkpoints need is not known")
        return
    bytes_words = f"{need.copies} checkpoints take {_bytes(need.all_bytes)}"
    files_words = f"{need.copies} checkpoints are {need.all_files:,} files"
    place = facts.run_place
    free = (place.free_bytes, place.free_files) if place else (None, None)
    yield _room(facts, "space", bytes_words, need.all_bytes, free[0], _bytes)
    yield _room(facts, "files", files_words, need.all_files, free[1], lambda n: f"{n:,}")


def _room(
    facts: Facts, name: str, words: str, need: int, free: int | None, shown: Callable[[int], str]
) -> Check:
    place = facts.run_place
    if place is None:
        return Check(name, "not checked", f"{words}; what is free was not looked at")
    if place.trouble:
        return Check(name, "not checked", f"{words}; there is no folder of runs to look at")
    if free is None and place.unseen:
        says = f"{words}; what is free is unknown: {place.unseen}"
        return Check(name, "warning", says, place.there)
    if free is None:
        return Check(name, "not checked", f"{words}; the filesystem does not count what is free")
    if free < need:
        hint = "make room, set checkpoint.keep lower, or move $EXA_RUNS"
        return Check(name, "fault", f"{words}; {shown(free)} are free", place.there, hint)
    return Check(name, "ok", f"{words}; {shown(free)} are free")


def quota(facts: Facts) -> Iterator[Check]:
    says = "a filesystem's free space does not show quotas: unknown"
    yield Check("quota", "not checked", says)


def data(facts: Facts) -> Iterator[Check]:
    found, place = facts.data, facts.data_place
    if found is None:
        return  # that there is none is a fault of its own
    if place is None:
        yield Check("data", "not checked", f"{found.path} was not looked at")
    elif place.trouble:
        yield Check("data", "fault", f"the data cannot be used: {place.trouble}", place.path)
    elif found.prepared and not place.readable:
        yield _fault("data", "the prepared data is not readable", place.path)
    elif not found.prepared and not place.writable:
        hint = "$EXA_CACHE names the folder of prepared data"
        says = f"the data would be prepared where nothing can be written: {place.there}"
        yield Check("data", "fault", says, place.path, hint)
    else:
        later = "" if found.prepared else ", prepared at the submit"
        yield Check("data", "ok", found.path + later)


def staging(facts: Facts) -> Iterator[Check]:
    if facts.program:
        return
    need, size = facts.data.bytes if facts.data else None, facts.profile.local_storage.bytes
    if need is None:
        yield Check(
            "staging", "not checked", "the size of the data is not known before it is there"
        )
    elif size == UNKNOWN:
        says = f"{_bytes(need)} of data a node; the size of its local storage is unknown"
        yield Check("staging", "not checked", says)
    elif need > size:
        says = f"{_bytes(need)} of data do not fit on a node's local storage of {_bytes(size)}"
        yield Check("staging", "fault", says, f"site {facts.site}, local_storage.bytes")
    else:
        yield Check("staging", "ok", f"{_bytes(need)} of data, {_bytes(size)} of local storage")


def program(facts: Facts) -> Iterator[Check]:
    """What exa promises for its own trainer and cannot for another."""
    if facts.program:
        says = (
            f"{facts.program} runs in place of exa's trainer: its checkpoints, what it resumes "
            "from and the order of its samples are its own; exa starts it, watches it, tells it "
            "when to stop and starts it again"
        )
        yield Check("program", "warning", says, facts.doc.where(("train", "command")))


def device(facts: Facts) -> Iterator[Check]:
    """What a user of a machine with GPUs would not expect."""
    kind = facts.profile.torch.device
    if kind != "cpu" and not facts.program:
        says = (
            f"exa's trainer computes on CPU cores in this version, not on {kind} devices; a "
            "program of your own may use them (docs/own-program.md)"
        )
        yield Check("device", "warning", says, f"site {facts.site}, torch.device")


def binding(facts: Facts) -> Iterator[Check]:
    """Ranks that are not bound, or bound in a way that the site gives and its tables contradict."""
    bound = facts.binding
    if bound is None or not facts.profile.binding:
        return
    if bound.name is None:
        if facts.doc.origins.get(("parallel", "binding")) is None:
            yield Check("binding", "warning", f"ranks are not bound to cores: {bound.reason}")
        return
    chosen = next(b for b in facts.profile.binding if b.name == bound.name)
    found = findings(chosen, Hardware(facts.profile.node, facts.profile.device))
    for says in found:
        yield Check("binding", "warning", f"{bound.name}, as the site gives it: {says}")
    if not found:
        yield Check("binding", "ok", f"{bound.name}: {bound.reason}")


def beyond(facts: Facts) -> Iterator[Check]:
    """What nobody can know before the submit."""
    kind = facts.profile.scheduler.kind
    yield Check("scheduler", "not checked", f"that {kind} accepts it now, your other jobs included")
    yield Check("nodes", "not checked", "their health: the job looks itself before it trains")


CHECKS: tuple[Callable[[Facts], Iterator[Check]], ...] = (
    account,
    filesystems,
    job_name,
    walltime,
    dependencies,
    run_directory,
    space,
    quota,
    data,
    staging,
    program,
    device,
    binding,
    beyond,
)


def _fault(name: str, says: str, where: str) -> Check:
    return Check(name, "fault", says, where)


def _expressible(facts: Facts, key: str) -> Iterator[Check]:
    """Refuse what is asked for and would be dropped."""
    if getattr(facts.resources, key) and key not in facts.expressible:
        kind = facts.profile.scheduler.kind
        says = f"this version of exa has no word for it to {kind}"
        yield _fault(key, says, facts.where(key))


def _bytes(number: int) -> str:
    return f"{short(number)}B"
