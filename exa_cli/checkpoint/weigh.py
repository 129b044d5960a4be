"""What parity makes of a verdict: damage that it can undo is repairable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from exa_cli.base.errors import Damaged, Invalid
from exa_cli.checkpoint import foreign, guarded, sidecar, unprotected
from exa_cli.checkpoint import manifest as manifests
from exa_cli.checkpoint.guarded import State
from exa_cli.checkpoint.manifest import Manifest
from exa_cli.checkpoint.names import MANIFEST
from exa_cli.checkpoint.sidecar import SIDECAR, Index
from exa_cli.checkpoint.verdict import Damage, ForeignReport, Report, Verdict


@dataclass(frozen=True)
class Copied:
    """The manifest that lies beside the parity, as bytes and read."""

    data: bytes
    manifest: Manifest


def manifest_copy(directory: Path) -> Copied | None:
    """The copy, if there is one that is whole and this checkpoint's."""
    try:
        data = (directory / SIDECAR / MANIFEST).read_bytes()
        return Copied(data, manifests.decode(data, directory.name))
    except (FileNotFoundError, Damaged):
        return None


def bound_index(directory: Path, manifest_bytes: bytes) -> Index | None:
    """The index, if a copy of it is whole and was made for this manifest."""
    index = sidecar.read_index(directory).index
    fits = index is not None and index.manifest == sidecar.digest(manifest_bytes)
    return index if fits else None


def weigh(directory: Path, bare: Report, check: Callable[[Manifest], list[Damage]]) -> Report:
    """The verdict on a checkpoint that has a sidecar. ``check`` reads its data files whole.

    Raises OSError when the sidecar cannot be read.
    """
    copy = manifest_copy(directory)
    manifest = bare.manifest or (copy.manifest if copy else None)
    if manifest is None:
        return bare
    data = manifests.encode(manifest)
    index = bound_index(directory, data)
    whole = bare.verdict == "good"
    state = guarded.look(directory, index, data=not whole) if index else None
    faults = _sidecar_faults(directory, state, data)
    # A copy of the manifest brings back the checkpoint; so its files are judged by it.
    damaged = list(bare.damaged) if bare.manifest else check(manifest)
    beyond = list(_beyond(damaged, state))
    if bare.manifest is None:
        damaged.insert(0, _manifest_damage(bare))
    found = (*damaged, *beyond, *faults)
    return replace(bare, verdict=_verdict(beyond, found), damaged=found, manifest=manifest)


def _verdict(beyond: Sequence[Damage], damaged: Sequence[Damage]) -> Verdict:
    if beyond:
        return "damaged"
    return "repairable" if damaged else "good"


def _manifest_damage(bare: Report) -> Damage:
    first = bare.damaged[0]
    missing = bare.verdict == "incomplete"
    what = "is missing" if missing else first.reason
    return Damage(MANIFEST, f"{what}; a valid copy is in {SIDECAR}")


def _beyond(damaged: list[Damage], state: State | None) -> list[Damage]:
    """Why damage to data files cannot be undone, if so."""
    if not damaged:
        return []
    if state is None:
        return [Damage(SIDECAR, "has no index for this checkpoint: nothing can be rebuilt from it")]
    return [Damage(SIDECAR, line) for line in state.beyond]


def _sidecar_faults(directory: Path, state: State | None, manifest: bytes | None) -> list[Damage]:
    """Everything of a sidecar that is not what was written."""
    found = sidecar.read_index(directory)
    faults = [Damage(f"{SIDECAR}/{name}", fault) for name, fault in found.faults]
    if found.index is not None and state is None:
        faults.append(Damage(f"{SIDECAR}/{sidecar.INDEX}", "belongs to another checkpoint"))
    if state is not None:
        faults += parity_damage(state)
    if manifest is not None:
        faults += _copy_damage(directory, manifest)
    return faults


def _copy_damage(directory: Path, manifest: bytes) -> list[Damage]:
    name = f"{SIDECAR}/{MANIFEST}"
    try:
        same = (directory / SIDECAR / MANIFEST).read_bytes() == manifest
    except FileNotFoundError:
        return [Damage(name, "is missing")]
    return [] if same else [Damage(name, "is not a copy of the checkpoint's manifest")]


def parity_damage(state: State) -> list[Damage]:
    return [
        Damage(f"{SIDECAR}/{file.name}", line)
        for number, (file, found) in enumerate(zip(state.index.parity, state.parity, strict=True))
        for line in guarded.told(found, guarded.parity_spans(state.index, number))
    ]


def file_damage(state: State) -> list[Damage]:
    return [
        Damage(file.name, line)
        for file, found in zip(state.index.files, state.files, strict=True)
        for line in guarded.told(found, guarded.data_spans(file.bytes))
    ]


def verify_foreign(directory: Path) -> ForeignReport:
    """Read a directory that exa did not write, by its sidecar or by what its format offers.

    Raises NotFound when there is no such directory, Damaged when there is nothing to check it
    by, Unreachable and OSError when it cannot be read.
    """
    if not sidecar.exists(directory):
        return _unprotected(directory)
    index = sidecar.read_index(directory).index
    if index is None:
        lost = Damage(
            SIDECAR, "has no index that is whole: nothing can be checked or rebuilt by it"
        )
        return ForeignReport(directory.name, "damaged", (lost,), protected=True)
    state = guarded.look(directory, index)
    beyond = [Damage(SIDECAR, line) for line in state.beyond]
    damaged = (*file_damage(state), *beyond, *_sidecar_faults(directory, state, None))
    verdict, added = _verdict(beyond, damaged), _added(directory, index)
    return ForeignReport(directory.name, verdict, damaged, protected=True, unseen=added)


def _added(directory: Path, index: Index) -> tuple[str, ...]:
    """Files that came after the protection, in words."""
    covered = {file.name for file in index.files}
    names = [
        guarded.shown(n) for n in sorted(foreign.contents(directory).files) if n not in covered
    ]
    if not names:
        return ()
    more = ", …" if len(names) > 3 else ""
    listed = ", ".join(names[:3])
    return (f"{len(names)} files came after the protection and are not covered: {listed}{more}",)


def _unprotected(directory: Path) -> ForeignReport:
    found = unprotected.check(directory, sorted(foreign.require_files(directory).files))
    if not found.checked:
        hint = "exa ckpt protect DIR, while the files are right"
        raise Invalid(
            "nothing in this directory carries a checksum", where=str(directory), hint=hint
        )
    verdict: Verdict = "damaged" if found.damaged else "good"
    if not found.committed and all(d.reason == "is missing" for d in found.damaged):
        verdict = "incomplete"
    return ForeignReport(directory.name, verdict, found.damaged, False, found.unseen)
