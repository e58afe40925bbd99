"""Run the command with `python -m sim.cli`, as the script in the checkout does."""

from sim.cli.main import main

if __name__ == "__main__":
    main()
