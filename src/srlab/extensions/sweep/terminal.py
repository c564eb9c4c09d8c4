"""What a sweep says, as long as there is somebody to read it."""

import os
import sys

__all__ = ["say", "show"]


def say(line: str) -> None:
    """Print a line at once."""
    show(f"{line}\n".encode())


def show(text: bytes) -> None:
    """Print as it is; nothing any more once the terminal is closed or the reader of a pipe has gone.

    Cells need whoever watches them more than that needs its terminal: records and logs have it all.
    """
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # or what is left in the buffer fails again when Python ends
        os.close(nowhere)
