"""Who may import whom: the table of docs/architecture.md, held by walking the imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Room → rooms it may import, besides itself and base. The order is the floor plan, ground up.
MAY_IMPORT = {
    "base": set(),
    "spec": set(),
    "arith": {"spec"},
    "sites": {"spec", "schedulers"},
    "plan": {"spec", "sites", "arith"},
    "script": {"spec", "sites", "plan"},
    "schedulers": {"spec"},
    "runs": {"spec", "schedulers"},
    "policy": {"spec", "runs"},
    "checkpoint": set(),
    "staging": set(),
    "job": {
        "spec", "arith", "sites", "plan", "script", "schedulers", "runs", "policy",
        "checkpoint", "staging",
    },
    "login": {
        "spec", "arith", "sites", "plan", "script", "schedulers", "runs", "policy", "checkpoint",
    },
    "commands": {
        "spec", "arith", "sites", "plan", "script", "schedulers", "runs", "policy",
        "checkpoint", "staging", "job", "login",
    },
}  # fmt: skip

TRAINER_MAY_IMPORT = {"base", "spec", "arith", "checkpoint", "runs"}

# Module → third-party packages that only it may import.
ONLY_THERE = {
    "mpi4py": {"exa_cli/job/probe.py"},
    "matplotlib": {"exa_cli/login/plot.py"},
}

CLI = sorted((ROOT / "exa_cli").rglob("*.py"))
TRAINER = sorted((ROOT / "exa_train").rglob("*.py"))


def imports(path):
    """Absolute names a module imports, wherever in it they stand, except for type checkers only."""
    tree = ast.parse(path.read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide which room is meant"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(path):
    parts = path.relative_to(ROOT / "exa_cli").parts
    return parts[0] if len(parts) > 1 else None


def rooms_imported(path):
    names = (name.split(".") for name in imports(path) if name.startswith("exa_cli."))
    rooms = {parts[1] for parts in names}
    return {r for r in rooms if (ROOT / "exa_cli" / r).is_dir()}


def test_every_room_is_in_the_floor_plan():
    rooms = {room_of(path) for path in CLI} - {None}
    assert rooms == set(MAY_IMPORT)


@pytest.mark.parametrize("path", CLI, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_room_imports_only_what_the_plan_allows(path):
    room = room_of(path)
    if room is None:
        return
    forbidden = rooms_imported(path) - MAY_IMPORT[room] - {room, "base"}
    assert not forbidden, f"{room} imports {forbidden}"


def test_the_floor_plan_has_no_cycle():
    placed = set()
    while len(placed) < len(MAY_IMPORT):
        free = {r for r in MAY_IMPORT if r not in placed and MAY_IMPORT[r] <= placed}
        assert free, f"a cycle among {set(MAY_IMPORT) - placed}"
        placed |= free


@pytest.mark.parametrize("path", CLI, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_login_side_never_imports_torch_or_the_trainer(path):
    tops = {name.split(".")[0] for name in imports(path)}
    assert not tops & {"torch", "exa_train", "exa_kernels"}


@pytest.mark.parametrize("package", sorted(ONLY_THERE))
def test_heavy_packages_are_imported_in_one_place(package):
    users = {
        str(path.relative_to(ROOT))
        for path in CLI
        if package in {name.split(".")[0] for name in imports(path)}
    }
    assert users <= ONLY_THERE[package]


@pytest.mark.parametrize("path", TRAINER, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_trainer_imports_only_the_rooms_it_shares(path):
    forbidden = rooms_imported(path) - TRAINER_MAY_IMPORT
    assert not forbidden


def test_help_loads_no_verb_and_nothing_heavy():
    code = (
        "import sys; sys.argv = ['exa', '--help']\n"
        "from exa_cli.main import run\n"
        "run(['--help'], False)\n"
        "print(*sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert "exa_cli.main" in loaded
    assert not {n for n in loaded if n.startswith(("exa_cli.commands.", "exa_cli.login"))}
    assert not loaded & {"torch", "numpy", "rich", "jinja2", "mpi4py", "matplotlib", "h5py"}
    assert "Commands:" in done.stdout
