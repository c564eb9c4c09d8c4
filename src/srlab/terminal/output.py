"""Standard output that may be closed or full at any time: the work goes on, and the exit status says so."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

__all__ = ["OUTPUT_LOST", "READER_GONE", "lasting_output"]

#: Exit status of a program that did its work, but could not print all of it: standard output is full.
OUTPUT_LOST = 1
#: Likewise where whoever read it has gone, as in ``| head -1``: what a shell reports for SIGPIPE.
READER_GONE = 141


@contextmanager
def lasting_output() -> Iterator[None]:
    """Let nothing that is printed within the block end what the block does.

    The first fault of standard output is kept and whatever follows it is dropped. At the end of a block that
    did all of its work, a closed pipe ends the program with :data:`READER_GONE`, quietly; any other fault,
    such as a full disk, with :data:`OUTPUT_LOST` and a message on standard error. A character that the
    terminal's encoding lacks is written as its escape.

    Raises:
        SystemExit: as said above; a block that fails keeps its own exit status.
    """
    if sys.stdout is None:  # closed from the start: nobody asked for output
        yield
        return
    before = sys.stdout, sys.stderr
    output, errors = _Lasting(sys.stdout), None if sys.stderr is None else _Lasting(sys.stderr)
    sys.stdout, sys.stderr = cast(TextIO, output), cast(TextIO, errors)
    try:
        yield
    except SystemExit as ended:
        output.flush()
        if ended.code or output.fault is None:
            raise
    finally:
        output.flush()
        sys.stdout, sys.stderr = before
    if output.fault is not None:
        sys.exit(_status(output.fault))


def _status(fault: OSError) -> int:
    if isinstance(fault, BrokenPipeError):
        return READER_GONE
    with suppress(OSError, AttributeError):
        sys.stderr.write(f"error: standard output cannot be written: {fault}; files are complete\n")
    return OUTPUT_LOST


class _Lasting:
    """A text stream whose writing never fails; ``fault`` is the first error."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.fault: OSError | None = None

    def write(self, text: str) -> int:
        if self.fault is None:
            try:
                self._write(text)
            except OSError as error:
                self._lose(error)
        return len(text)

    def flush(self) -> None:
        if self.fault is None:
            try:
                self._stream.flush()
            except OSError as error:
                self._lose(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            encoding = self._stream.encoding
            self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))

    def _lose(self, fault: OSError) -> None:
        """What is left in the stream's buffer must not fail again when Python ends."""
        self.fault = fault
        with suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
