"""How far preparing is, on stderr: one moving line on a terminal, a few lines elsewhere."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from exa_cli.base import clock, talk

_PERIOD_TERMINAL = 0.1
_PERIOD_ELSEWHERE = 10.0


@dataclass
class Progress:
    """Counts text and tokens as parts are finished.

    Attributes:
        total: bytes of text to tokenise. done, tokens: so far. begin: when it started.
    """

    total: int
    done: int = 0
    tokens: int = 0
    begin: float = field(default_factory=lambda: clock.monotonic())
    _shown: float = field(default_factory=lambda: clock.monotonic())
    _open: bool = False

    def add(self, text_bytes: int, tokens: int) -> None:
        """Count one part and show it if it is time."""
        self.done += text_bytes
        self.tokens += tokens
        terminal = sys.stderr.isatty()
        if clock.monotonic() - self._shown >= (_PERIOD_TERMINAL if terminal else _PERIOD_ELSEWHERE):
            self._shown = clock.monotonic()
            self._show(terminal)

    def _show(self, terminal: bool) -> None:
        if terminal:
            sys.stderr.write(f"\r\033[K{self.line()}")
            sys.stderr.flush()
            self._open = True
        else:
            talk.say(self.line())

    def close(self) -> None:
        """End the moving line, so that the next one starts at the margin."""
        if self._open:
            sys.stderr.write("\r\033[K")
            self._open = False

    def line(self) -> str:
        """For example ``tokenise: 12.1 of 31.5 MB, 6,512,004 tokens, 1.92 M tokens/s``."""
        rate = self.tokens / max(clock.monotonic() - self.begin, 1e-9)
        return (
            f"tokenise: {megabytes(self.done)} of {megabytes(self.total)} MB, "
            f"{self.tokens:,} tokens, {rate / 1e6:.2f} M tokens/s"
        )


def megabytes(size: int) -> str:
    """Bytes in MB (1e6), one digit."""
    return f"{size / 1e6:,.1f}"
