"""Log lines of a program: short and wrapped at words on a terminal, complete on one line elsewhere."""

import logging
import shutil
import sys
import textwrap
from typing import Any

_COMPLETE = "[%(asctime)s][%(name)s][%(levelname)s] - %(message)s"  # Hydra's format
_NARROWEST = 40


class ConsoleFormatter(logging.Formatter):
    """For a handler of standard output.

    On a terminal a line is time and message, with the level's name from warnings on, and long lines are
    wrapped. Words are not broken, and lines of a message that begin with a blank (commands and paths to
    paste) are left unchanged. Elsewhere each line has date, module and level, as in the log file.
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
        lines = [_wrapped(line, head, width) for line in record.getMessage().splitlines() or [""]]
        text = head + "\n".join(lines)
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def _wrapped(line: str, head: str, width: int) -> str:
    if line.startswith(" "):
        return line
    wrapper = textwrap.TextWrapper(width, break_long_words=False, break_on_hyphens=False)
    wrapper.initial_indent, wrapper.subsequent_indent = " " * len(head), " " * min(len(head), 9)
    return wrapper.fill(line)[len(head) :]
