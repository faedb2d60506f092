"""`python -m ksim`: the command line, where no script is installed."""

from ksim.cli import main

if __name__ == "__main__":
    main()
