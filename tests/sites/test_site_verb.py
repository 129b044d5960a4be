"""exa site: what there is, what a profile says, and every fault of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from exa_cli.main import run

MINE = """
inherits = "slurm"
[directives]
account = "fill in"
[node]
ranks_per_node = 4
cpus = 64
gpus = 4
[launcher]
options = ["--mpi=pmix"]
[torch]
device = "cuda"
backend = "nccl"
"""


class Verb:
    """``exa site`` with profiles of a folder of its own."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.capsys = capsys

    def put(self, name: str, text: str) -> None:
        (self.folder / f"{name}.toml").write_text(text)

    def __call__(self, *words: str, expect: int = 0) -> tuple[str, str]:
        code = run(["site", *words], False)
        said = self.capsys.readouterr()
        assert code == expect, said
        return said.out, said.err

    def json(self, *words: str, expect: int = 0) -> Any:
        return json.loads(self(*words, "--json", expect=expect)[0])


@pytest.fixture
def site(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Verb:
    for variable in ("XDG_CONFIG_HOME", "HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    monkeypatch.setenv("EXA_SITES_PATH", str(tmp_path))
    monkeypatch.delenv("EXA_SITE", raising=False)
    return Verb(tmp_path, capsys)


def test_a_faulty_profile_exits_3_with_every_fault_and_its_place(site: Verb) -> None:
    site.put("bad", MINE.replace("cpus = 64", "cpu = 64").replace('"cuda"', '"tpu"'))
    out, err = site("check", "bad", expect=3)
    assert out == ""
    for part in (
        "3 faults:",
        "node.cpus is to be filled in\n    at: ",
        f"there is no key node.cpu\n    at: {site.folder}/bad.toml:7, key node.cpu",
        "did you mean ",
        "legal: cpu, cuda, xpu",
    ):
        assert part in err
    faults = site.json("check", "bad", expect=3)["faults"]
    assert len(faults) == 3
    assert all(set(fault) == {"what", "where", "hint"} for fault in faults)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('[directives]\njob-name = "x"\n', "the directive job-name is set by exa itself"),
        ("[directives]\nnodes = 4\n", "directives must be a table"),
        ('[launcher]\nkind = "srum"\n', "did you mean srun?"),
        ('[scheduler]\nkind = "pbz"\n', "no directives can be written for the batch system 'pbz'"),
        ('[node]\ncpus = "detect"\n', "looks at the machine of the submission"),
        ('[[env]]\nname = "a"\nvariables = {"A B" = "x"}\n', "is not a name a shell can export"),
        ('[launcher]\ncommand = ["srun", "{rank}"]\n', "{rank} is not known"),
    ],
)
def test_a_profile_is_held_to_what_a_script_can_say(site: Verb, table: str, words: str) -> None:
    site.put("parent", MINE)
    site.put("child", f'inherits = "parent"\n{table}')
    assert words in site("check", "child", expect=3)[1]


def test_a_site_that_is_not_there_exits_6(site: Verb) -> None:
    for verb in ("check", "show"):
        assert "there is no site 'nowhere'" in site(verb, "nowhere", expect=6)[1]


def test_a_broken_file_does_not_hide_the_other_sites(site: Verb) -> None:
    site.put("broken", "[site\n")
    site.put("mine", MINE)
    verdicts = {row["site"]: row["verdict"] for row in site.json("list")["sites"]}
    want = {"broken": "faulty", "local": "usable", "mine": "usable", "slurm": "starter"}
    assert verdicts.items() >= want.items()
    told = [line.split()[:2] for line in site("list")[0].splitlines()]
    assert told == [list(pair) for pair in verdicts.items()]


def test_what_is_left_to_each_user_is_noted_not_a_fault(site: Verb) -> None:
    site.put("mine", MINE)
    assert site("check", "mine")[0].splitlines() == [
        "mine: no fault",
        "  each run must say its account: directives.account is 'fill in'",
    ]
    assert site.json("check", "mine")["faults"] == []


def test_a_profile_is_shown_with_all_it_inherits_and_where_each_key_stands(site: Verb) -> None:
    site.put("mine", MINE)
    told = site.json("show", "mine")
    assert told["profile"]["preemption"]["restart_variable"] == "SLURM_RESTART_COUNT"
    assert told["profile"]["site"] == {"name": "mine"}, "a parent's title is not a child's"
    assert told["origins"]["node.cpus"] == f"{site.folder}/mine.toml:7"
    text = site("show", "mine")[0]
    assert text.startswith(f"# {site.folder}/mine.toml, inherits ")
    site.put("copy", text)
    assert site.json("show", "copy")["profile"] == told["profile"]


def test_the_schema_for_editors_takes_what_exa_takes(site: Verb) -> None:
    schema = json.loads(site("schema")[0])
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(site.json("show", "local")["profile"], schema)


def test_the_profile_of_the_walk_through_holds_together(site: Verb) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "add-a-site.md"
    site.put("shown", page.read_text().partition("```toml\n")[2].partition("```")[0])
    assert site("check", "shown")[0].startswith("shown: no fault")
