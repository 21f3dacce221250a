"""`python -m roost.sim`: the simulated engine as a process of its own."""

import sys
from collections.abc import Sequence

from roost.sim.flags import parse


def main(argv: Sequence[str]) -> None:
    """Read the flags, then serve; a wrong flag costs no import of the server."""
    behaviour = parse(argv)
    from roost.sim.server import run

    run(behaviour)


if __name__ == "__main__":
    main(sys.argv[1:])
