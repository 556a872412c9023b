"""The command `zoo`, which `python -m zoo` is too, before its libraries are loaded."""

import signal
import sys

from zoo.cli import interrupts


def main() -> int:
    """Runs the command. Until it has loaded its libraries, Ctrl-C ends it here; then `zoo.cli.main` answers."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupts.end)
    from zoo.cli.main import main

    return main()


if __name__ == "__main__":
    sys.exit(main())
