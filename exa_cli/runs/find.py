"""From what a user typed to a run: a name, a directory or a unique prefix."""

from __future__ import annotations

from pathlib import Path

from exa_cli.base.errors import NotFound, Usage
from exa_cli.runs.rundir import RUNS_VARIABLE, RunDir, runs_root


def all_runs(root: Path | None = None) -> list[RunDir]:
    """Every run under the folder of runs, by name. A missing folder has none.

    Raises NotFound where a file is in its place.
    """
    folder = root or runs_root()
    if not folder.is_dir():
        if is_there(folder):
            hint = f"${RUNS_VARIABLE} names the folder of runs"
            raise NotFound(
                "a file is where the folder of runs should be", where=str(folder), hint=hint
            )
        return []
    found = (p for p in folder.iterdir() if not p.name.startswith(".") and is_run(p))
    return sorted((RunDir(p) for p in found), key=lambda run: run.run_id)


def is_run(path: Path) -> bool:
    """Whether a run's files are there, whole or not: a damaged run is to be seen."""
    return is_there(path / "plan.json") or is_there(path / "journal")


def is_there(path: Path) -> bool:
    """Whether there is such a file; no name is too long to ask."""
    try:
        return path.exists()
    except OSError:
        return False


def find(text: str, root: Path | None = None) -> RunDir:
    """The run that ``text`` names.

    Raises NotFound with the nearest names, or Usage when several runs fit.
    """
    if not text:
        raise Usage("RUN is empty", hint="an unset variable of your shell?")
    path = Path(text)
    if is_run(path):
        return RunDir(path.absolute())
    runs = all_runs(root)
    for fits in (
        [r for r in runs if r.run_id == text],
        [r for r in runs if r.name == text],
        [r for r in runs if r.run_id.startswith(text)],
    ):
        if len(fits) == 1:
            return fits[0]
        if fits:
            names = ", ".join(r.run_id for r in fits)
            raise Usage(f"{text!r} fits {len(fits)} runs", hint=f"say which: {names}")
    raise _not_found(text, runs, root or runs_root())


def find_run(text: str) -> Path:
    """`find`, as a path."""
    return find(text).path


def _not_found(text: str, runs: list[RunDir], root: Path) -> NotFound:
    import difflib

    names = [r.run_id for r in runs]
    close = difflib.get_close_matches(text, names + [r.name for r in runs], n=3, cutoff=0.5)
    hint = "did you mean " + " or ".join(close) + "?" if close else "exa status lists the runs"
    return NotFound(f"there is no run {text!r}", where=str(root), hint=hint)
