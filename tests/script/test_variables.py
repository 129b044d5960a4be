"""Sets of variables: which a job gets, in which order, and what is put before a list."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from exa_cli.base.errors import Invalid
from exa_cli.login import draft as drafts
from exa_cli.login.draft import Options
from exa_cli.runs.rundir import RunDir
from exa_cli.script import quote

SITE = """
inherits = "slurm"
directives.account = false
node = { ranks_per_node = 1, cpus = 8, gpus = 0 }
launcher.options = ["--mpi=pmi2"]
torch = { device = "cpu", backend = "gloo" }

[[accelerator.mode]]
name = "FLAT"
devices = 12
variable = "MODE"
value = "FLAT"
default = true

[[env]]
name = "always"
variables = { A = "site", B = "site" }
prepend = { LIST = "/my libs:/b" }

[[env]]
name = "one node"
max_nodes = 1
variables = { NET = "Socket" }

[[env]]
name = "more nodes"
min_nodes = 2
variables = { NET = "OFI" }

[[env]]
name = "scale"
default = false
variables = { TUNED = "1", A = "scale" }
"""


def exported(tmp_path: Path, run: str = "", nodes: int = 1) -> list[str]:
    (tmp_path / "site.toml").write_text(SITE)
    (tmp_path / "run.toml").write_text(run)
    made = drafts.draft(
        tmp_path / "run.toml", Options(str(tmp_path / "site.toml"), nodes=nodes, name="x")
    )
    run_dir = RunDir(Path("/runs/x-0000"))
    script = drafts.scripted(made, run_dir, "001")[2]
    return [line.text for line in script.lines if line.text.startswith("export ")]


def test_a_set_that_is_no_default_is_there_when_it_is_asked_for(tmp_path: Path) -> None:
    assert "export TUNED=1" not in exported(tmp_path)
    asked = exported(tmp_path, '[script]\nsets = ["scale"]\n')
    assert "export TUNED=1" in asked
    assert "export A=scale" in asked and "export A=site" not in asked


def test_a_set_that_the_site_does_not_have_is_refused_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="no set of variables 'skale'") as caught:
        exported(tmp_path, '[script]\nsets = ["skale"]\n')
    assert "run.toml:2" in str(caught.value) and "did you mean scale" in str(caught.value)


@pytest.mark.parametrize(("nodes", "net"), [(1, "Socket"), (2, "OFI"), (9, "OFI")])
def test_a_set_may_be_for_so_many_nodes(tmp_path: Path, nodes: int, net: str) -> None:
    found = [line for line in exported(tmp_path, nodes=nodes) if line.startswith("export NET=")]
    assert found == [f"export NET={net}"]


def test_the_mode_in_which_devices_are_counted_is_set_and_the_run_file_wins(tmp_path: Path) -> None:
    assert "export MODE=FLAT" in exported(tmp_path)
    assert "export B=run" in exported(tmp_path, '[env]\nB = "run"\n')


@pytest.mark.parametrize("held", [None, "", "/usr/lib", "/a b:/c"])
@pytest.mark.parametrize("value", ["/x", "/my $libs:/it's", "-n"])
def test_what_is_put_before_a_list_leaves_no_empty_part(held: str | None, value: str) -> None:
    """An empty part of LD_LIBRARY_PATH or PATH is the working directory."""
    env = {k: v for k, v in os.environ.items() if k != "LIST"}
    env |= {} if held is None else {"LIST": held}
    script = f'{quote.prepend("LIST", value)}\nprintf %s "$LIST"'
    done = subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True)
    assert done.stdout == (f"{value}:{held}" if held else value)


def test_the_list_is_prepended_in_the_script(tmp_path: Path) -> None:
    assert "export LIST='/my libs:/b'\"${LIST:+:$LIST}\"" in exported(tmp_path)
