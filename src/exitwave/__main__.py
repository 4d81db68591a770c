"""`python -m exitwave` is the command `exitwave`."""

from exitwave.cli import main

if __name__ == "__main__":
    main()
