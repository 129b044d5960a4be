"""``python -m exa_train --launch LIFE/launch.json``: one rank, under mpiexec."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m exa_train",
        description="One rank of a run. `exa submit` and the supervisor start it, by mpiexec.",
    )
    parser.add_argument(
        "--launch", required=True, type=Path, metavar="LIFE/launch.json", help="written per life"
    )
    args = parser.parse_args()
    from exa_train import program

    return program.main(args.launch.absolute())


if __name__ == "__main__":
    sys.exit(main())
