"""`python -m arenaloop`, by which launchers of several processes start the command."""

from arenaloop.cli import main

if __name__ == "__main__":
    main()
