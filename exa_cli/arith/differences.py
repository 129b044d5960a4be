"""How what is built differs from a published description: data, not prose in a README."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """One statement of a description beside what is built.

    Attributes:
        topic: a word or two.
        notes: what the description says.
        built: what exa builds or expects instead.
        why: the arithmetic or fact that decides it.
    """

    topic: str
    notes: str
    built: str
    why: str
