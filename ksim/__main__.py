"""`python -m ksim` is the command `ksim`."""

from ksim.cli import main

main()
