"""What a rank imports, and which versions will do: pyproject.toml as code that nodes can read.

A job may run where exa itself was not installed by pip, so its metadata is no place to ask.
"""

from __future__ import annotations

from dataclasses import dataclass

Version = tuple[int, ...]


@dataclass(frozen=True)
class Range:
    """The first version that will do, and the first that will not; None = none is known."""

    first: Version
    beyond: Version | None = None

    def takes(self, version: str) -> bool:
        """Whether a version such as ``2.13.0+cpu`` is within."""
        found = _parts(version)
        return self.first <= found and (self.beyond is None or found < self.beyond)

    def __str__(self) -> str:
        upper = f", under {_dotted(self.beyond)}" if self.beyond else ""
        return f"{_dotted(self.first)} or newer{upper}"


RANKS = {
    "torch": Range((2, 8), (2, 14)),
    "mpi4py": Range((4, 1)),
    "numpy": Range((1, 26)),
    "h5py": Range((3, 10)),
    "sentencepiece": Range((0, 2)),
    "safetensors": Range((0, 4)),
    "tensorboard": Range((2, 16)),
    "xxhash": Range((3, 4)),
}
"""Each package of that name is also the module that is imported."""


def _parts(version: str) -> Version:
    """``2.13.0+cpu`` → (2, 13); what is no number counts as 0."""
    numbers = (part for part in version.split("+")[0].split(".")[:2])
    return tuple(int(part) if part.isdigit() else 0 for part in numbers)


def _dotted(version: Version) -> str:
    return ".".join(map(str, version))
