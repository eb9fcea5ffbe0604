"""`python -m weft.accuracy` is `scripts/accuracy`."""

from weft.accuracy import main

main()
