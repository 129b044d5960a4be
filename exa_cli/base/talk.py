"""Talking to a person: always on stderr, coloured only on a terminal."""

from __future__ import annotations

import os
import sys


def colourful() -> bool:
    """Whether stderr is a terminal whose user has not said NO_COLOR (no-color.org)."""
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR")


def say(text: str) -> None:
    """One line, or several, to stderr."""
    print(text, file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """A warning; the word is there with and without colour."""
    word = "\033[33mwarning:\033[0m" if colourful() else "warning:"
    say(f"{word} {text}")
