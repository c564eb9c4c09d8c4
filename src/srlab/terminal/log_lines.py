"""Log lines of a program: short on a terminal, complete elsewhere; details that ``srlab`` leaves out."""

import logging
import sys
from typing import Any

#: ``log.info(…, extra=DETAIL)``: files, back ends and tiles, which help to find faults.
DETAIL = {"is_detail": True}

_COMPLETE = "[%(asctime)s][%(name)s][%(levelname)s] - %(message)s"  # Hydra's format


def is_for_users(record: logging.LogRecord) -> bool:
    """A filter of log records: warnings, and what srlab reports that is not a detail."""
    ours = record.name.partition(".")[0] == "srlab"
    return record.levelno >= logging.WARNING or (ours and not getattr(record, "is_detail", False))


class ConsoleFormatter(logging.Formatter):
    """For a handler of standard output.

    On a terminal a line is time and message, with the level's name from warnings on. Elsewhere it has date,
    module and level, as in the log file.
    """

    def __init__(self) -> None:
        super().__init__(_COMPLETE)
        self._short = logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S")
        self._warning = logging.Formatter("%(asctime)s %(levelname)s: %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """The text of one record."""
        stream: Any = sys.stdout
        if stream is None or not stream.isatty():
            return super().format(record)
        return (self._warning if record.levelno >= logging.WARNING else self._short).format(record)
