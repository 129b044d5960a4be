"""``python -m exa_cli`` is ``exa``: job scripts call it so, with the interpreter spelled out."""

from exa_cli.main import main

main()
