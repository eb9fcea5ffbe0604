"""`python -m weft.demo` is `scripts/demo`."""

from weft.demo import main

main()
