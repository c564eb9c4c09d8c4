"""Standard output that may be closed or full: the work continues, and the exit status reports it."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

#: Exit status of a program that did its work but could not print all of it: standard output is full.
OUTPUT_LOST = 1
#: The same if the reader has closed the pipe, as in ``| head -1``: what a shell reports for SIGPIPE.
READER_GONE = 141


@contextmanager
def lasting_output() -> Iterator[None]:
    """Errors of standard output do not interrupt the block.

    After the first error nothing more is printed. At the end of a block that did all of its work, a closed
    pipe ends the program with :data:`READER_GONE`, silently; any other error, such as a full disk, with
    :data:`OUTPUT_LOST` and a message on standard error. Characters that the terminal's encoding lacks are
    written as escapes.

    Raises:
        SystemExit: as described; a block that fails keeps its own exit status.
    """
    if sys.stdout is None:  # it was closed from the start
        yield
        return
    before = sys.stdout, sys.stderr
    output, errors = _Lasting(sys.stdout), None if sys.stderr is None else _Lasting(sys.stderr)
    sys.stdout, sys.stderr = cast(TextIO, output), cast(TextIO, errors)
    try:
        yield
    except SystemExit as ended:
        output.flush()
        if ended.code or output.error is None:
            raise
    finally:
        output.flush()
        sys.stdout, sys.stderr = before
    if output.error is not None:
        sys.exit(_status(output.error))


def _status(error: OSError) -> int:
    if isinstance(error, BrokenPipeError):
        return READER_GONE
    with suppress(OSError, AttributeError):
        sys.stderr.write(f"error: standard output cannot be written: {error}; files are complete\n")
    return OUTPUT_LOST


class _Lasting:
    """A text stream whose writing never fails; ``error`` is the first error."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        with self._kept_error():
            try:
                self._stream.write(text)
            except UnicodeEncodeError:
                encoding = self._stream.encoding
                self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        with self._kept_error():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextmanager
    def _kept_error(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.error = self.error or error
            # what is left in the stream's buffer must not fail again when Python ends
            with suppress(OSError, ValueError, AttributeError):
                discard(self._stream.fileno())


def discard(*descriptors: int) -> None:
    """What is written to these file descriptors from now on is lost."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for each in descriptors:
        os.dup2(nowhere, each)
    os.close(nowhere)
