"""Find a site profile, resolve what it inherits, check it, freeze it.

Looked for in this order: ``--site PATH|NAME``, ``$EXA_SITE`` (the same two forms), and a name
in ``~/.config/exa/sites``, in each directory of ``$EXA_SITES_PATH``, and among those that come
with exa. Without any of them the site is ``local``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exa_cli.base import resources
from exa_cli.base.errors import Invalid, NotFound
from exa_cli.base.home import home
from exa_cli.sites.batch import NAME_PATTERN
from exa_cli.sites.merge import merged
from exa_cli.sites.schema import SiteProfile, read
from exa_cli.spec import toml
from exa_cli.spec.toml import TomlDoc

DEFAULT = "local"
SITE_VARIABLE = "EXA_SITE"
PATH_VARIABLE = "EXA_SITES_PATH"


@dataclass(frozen=True)
class LoadedSite:
    """A profile ready for use.

    Attributes:
        profile: the checked profile.
        doc: the merged document; its origins name the file and line of each key.
        chain: the files it was made of, the one asked for first.
    """

    profile: SiteProfile
    doc: TomlDoc
    chain: tuple[Path, ...]

    @property
    def text(self) -> str:
        """The whole profile as TOML, for the run directory: no later edit of the files it was
        made of changes a run."""
        import tomli_w

        sources = ", inherits ".join(repr(str(path)) for path in self.chain)
        return f"# Frozen at submission from {sources}\n\n{tomli_w.dumps(self.doc.values)}"


def load_site(asked: str | None, env: Mapping[str, str] | None = None) -> LoadedSite:
    """The profile that was asked for.

    Args:
        asked: a path (with ``/`` or ending in ``.toml``) or a name; None = ``$EXA_SITE``, else
            ``local``.
        env: the environment; None = this process's.

    Raises:
        NotFound: there is none of that name; the nearest are named.
        Invalid: it is wrong: every fault with file, line and key.
    """
    doc, chain = find_site(asked, env)
    return LoadedSite(read(doc), doc, chain)


def find_site(
    asked: str | None, env: Mapping[str, str] | None = None
) -> tuple[TomlDoc, tuple[Path, ...]]:
    """As `load_site`, but unchecked: the merged document and the files it is made of.

    Raises NotFound, or Invalid for a file that cannot be read or inherits itself.
    """
    env = os.environ if env is None else env
    wanted, origin = _wanted(asked, env)
    path = Path(wanted) if _is_path(wanted) else _by_name(wanted, origin, env)
    return _resolve(path, env, ())


def read_frozen(path: Path) -> SiteProfile:
    """The profile of a run, from its ``site.toml``. Raises NotFound or Invalid."""
    return read(toml.load(path))


def known_sites(env: Mapping[str, str] | None = None) -> dict[str, Path]:
    """Every site by name, with the file that is used for it."""
    found: dict[str, Path] = {}
    for folder in search_path(os.environ if env is None else env):
        for path in sorted(folder.glob("*.toml")):
            if path.is_file():  # a pipe would keep who reads it waiting
                found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def search_path(env: Mapping[str, str]) -> list[Path]:
    """The directories profiles are looked for in, first to last; they need not exist."""
    config = Path(env.get("XDG_CONFIG_HOME") or home(env) / ".config")
    listed = [Path(part) for part in env.get(PATH_VARIABLE, "").split(os.pathsep) if part]
    return [config / "exa" / "sites", *listed, resources.folder("sites")]


def _wanted(asked: str | None, env: Mapping[str, str]) -> tuple[str, str]:
    if asked:
        return asked, "--site"
    if env.get(SITE_VARIABLE):
        return env[SITE_VARIABLE], f"${SITE_VARIABLE}"
    return DEFAULT, "the default"


def _is_path(wanted: str) -> bool:
    return "/" in wanted or wanted.endswith(".toml")


def _by_name(name: str, origin: str, env: Mapping[str, str], after: Path | None = None) -> Path:
    """The first profile of a name; with ``after``, the next one behind that file."""
    candidates = list(_candidates(name, env))
    if after is not None and after.resolve() in (found := [p.resolve() for p in candidates]):
        candidates = candidates[found.index(after.resolve()) + 1 :]
    if not candidates:
        raise _not_found(name, origin, env)
    return candidates[0]


def _candidates(name: str, env: Mapping[str, str]) -> Iterator[Path]:
    if re.fullmatch(NAME_PATTERN, name):
        files = (folder / f"{name}.toml" for folder in search_path(env))
        yield from (path for path in files if path.is_file())


def _not_found(name: str, origin: str, env: Mapping[str, str]) -> NotFound:
    import difflib

    if told := _elsewhere(name):
        return NotFound(told["what"], where=origin, hint=told["instead"])
    names = list(known_sites(env))
    close = difflib.get_close_matches(name, names, n=3)
    guess = "did you mean " + " or ".join(close) + "? " if close else ""
    return NotFound(
        f"there is no site {name!r}", where=origin, hint=f"{guess}known: {', '.join(names)}"
    )


def _elsewhere(name: str) -> dict[str, Any] | None:
    """What is to be said of a name that people ask for and that is no batch site."""
    path = resources.folder("sites") / "elsewhere" / f"{name.lower()}.toml"
    known = re.fullmatch(NAME_PATTERN, name) and path.is_file()
    return toml.load(path).values if known else None


def _resolve(
    path: Path, env: Mapping[str, str], below: tuple[Path, ...]
) -> tuple[TomlDoc, tuple[Path, ...]]:
    """A document with all it inherits under it, and the files in the order they were read."""
    if os.path.realpath(path) in map(os.path.realpath, below):
        circle = " → ".join(str(p) for p in (*below, path))
        raise Invalid("a profile inherits itself", where=circle)
    doc = _named(toml.load(path), path)
    parent = doc.values.get("inherits")
    if parent is None:
        return doc, (path,)
    where = doc.where(("inherits",))
    if not isinstance(parent, str):
        raise Invalid(f"inherits must be the name of a site, not {parent!r}", where=where)
    # A profile that inherits its own name adds to the one it hides.
    behind = _by_name(parent, where, env, after=path if parent == path.stem else None)
    base, chain = _resolve(behind, env, (*below, path))
    return merged(_untitled(base), _own(doc)), (path, *chain)


def _named(doc: TomlDoc, path: Path) -> TomlDoc:
    """A profile that does not name itself is called after its file, not after its parent."""
    site = doc.values.get("site", {})
    if not isinstance(site, dict) or "name" in site:
        return doc
    return toml.put(doc, ("site", "name"), path.stem, f"the name of {path}")


def _untitled(doc: TomlDoc) -> TomlDoc:
    """What a child takes over: all but the line that describes its parent."""
    if not isinstance(site := doc.values.get("site"), dict):
        return doc
    site = {k: v for k, v in site.items() if k != "title"}
    return TomlDoc({**doc.values, "site": site}, doc.origins, doc.name)


def _own(doc: TomlDoc) -> TomlDoc:
    """What a document says itself."""
    values: dict[str, Any] = {k: v for k, v in doc.values.items() if k != "inherits"}
    return TomlDoc(values, doc.origins, doc.name)
