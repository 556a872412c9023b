"""The command `zoo`, which `python -m zoo` is too, before its libraries are loaded."""

import signal
import sys


def main() -> int:
    """Runs the command. While it loads its libraries, Ctrl-C ends it at once, by the system; then `zoo.cli` answers."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from zoo.cli.main import main

    return main()


if __name__ == "__main__":
    sys.exit(main())
