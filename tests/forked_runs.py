"""A program that starts train.py again and again by forking, so that an attempt costs a second, not ten.

It reads one attempt a line from its standard input, a JSON list of overrides, and answers with the number of
the process that runs it, then, when that has ended, with its status as ``os.waitstatus_to_exitcode`` has it.
"""

import json
import os
import sys
import traceback

import lightning.pytorch  # noqa: F401  (imported once, here)

import srlab.app.training  # noqa: F401


def attempt(words: list[str]) -> int:
    """train.py, with everything imported already."""
    import train

    sys.argv = ["train.py", *words]
    try:
        train.main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def serve() -> None:
    """One attempt at a time."""
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # our standard output is for answers
            os._exit(attempt(json.loads(line)))
        answer(process)
        answer(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))


def answer(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    serve()
