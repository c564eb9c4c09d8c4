"""Log lines of a program: short and folded at words on a terminal, complete on one line elsewhere."""

import logging
import shutil
import sys
import textwrap
from typing import Any

__all__ = ["ConsoleFormatter"]

# As Hydra writes them.
_COMPLETE = "[%(asctime)s][%(name)s][%(levelname)s] - %(message)s"
_NARROWEST = 40


class ConsoleFormatter(logging.Formatter):
    """For a handler of standard output.

    On a terminal, a line is the time and the message, after the level's name from a warning on, and what is
    longer than the terminal is wide continues below the message's beginning. Words are not broken, and lines
    of a message that begin with a blank are left as they are: commands and paths to be pasted. Elsewhere each
    line has date, module and level, as in the log file.
    """

    def __init__(self) -> None:
        super().__init__(_COMPLETE)

    def format(self, record: logging.LogRecord) -> str:
        """The text of one record."""
        stream: Any = sys.stdout
        if stream is None or not stream.isatty():
            return super().format(record)
        head = self.formatTime(record, "%H:%M:%S ")
        if record.levelno >= logging.WARNING:
            head += f"{record.levelname.lower()}: "
        width = max(_NARROWEST, shutil.get_terminal_size().columns)
        lines = [_folded(line, head, width) for line in record.getMessage().splitlines() or [""]]
        text = head + "\n".join(lines)
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def _folded(line: str, head: str, width: int) -> str:
    if line.startswith(" "):
        return line
    indent = " " * min(len(head), 9)
    folded = textwrap.fill(
        line,
        width,
        initial_indent=" " * len(head),
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return folded[len(head) :]
