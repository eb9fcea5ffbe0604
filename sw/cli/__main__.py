"""`python -m weft.cli` is the `weft` command."""

from weft.cli import main

main()
