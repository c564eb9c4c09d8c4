"""train.py in processes forked from one that has imported everything: a start costs a second, not ten.

As a program it reads a request a line from its standard input, and answers each with a line. ``{"words": […],
"output": FILE, "cwd": FOLDER}`` starts train.py with these words, in a session of its own, and is answered by
the number of its process; ``{"poll": NUMBER}`` by its status as ``os.waitstatus_to_exitcode`` has it, or null
while it runs. Processes that a run starts itself (loaders, further ranks) are started as ever.
"""

import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

ROOT = Path(__file__).parents[1]


class Ask(Protocol):
    """Sends a request to the program and returns its answer."""

    def __call__(self, **request: Any) -> Any:
        """The answer."""
        ...


@dataclass
class ForkedRun:
    """A process that runs train.py; it leads a process group."""

    pid: int
    log: Path
    ask: Ask
    status: int | None = None

    def poll(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        if self.status is None:
            self.status = self.ask(poll=self.pid)
        return self.status

    def wait(self, timeout: float = 240) -> int:
        """Its exit status, which must be there within ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while (status := self.poll()) is None:
            assert time.monotonic() < deadline, f"{self.pid} did not end; {self.output}"
            time.sleep(0.01)
        return status

    @property
    def output(self) -> str:
        """What it has printed so far, errors included."""
        return self.log.read_text()


class ForkedRuns:
    """Starts runs."""

    def __init__(self, ask: Ask) -> None:
        self.ask = ask

    def start(self, words: Sequence[object], *, cwd: Path) -> ForkedRun:
        """``python train.py`` with these words, in ``cwd``."""
        log = cwd / f"output{time.monotonic_ns()}.txt"
        log.touch()
        pid = self.ask(words=[str(word) for word in words], output=str(log), cwd=str(cwd))
        return ForkedRun(pid, log, self.ask)

    def finish(self, words: Sequence[object], *, cwd: Path) -> str:
        """The same, which must end well; returns what it printed."""
        run = self.start(words, cwd=cwd)
        assert run.wait() == 0, run.output
        return run.output


@contextmanager
def serving(folder: Path) -> Iterator[ForkedRuns]:
    """The program, started and ended; what it says itself goes to a file in ``folder``."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": paths, "WANDB_SILENT": "true"},
        )
        assert server.stdin is not None
        assert server.stdout is not None
        requests, answers = server.stdin, server.stdout

        def ask(**request: Any) -> Any:
            requests.write(json.dumps(request) + "\n")
            requests.flush()
            return json.loads(answers.readline())

        yield ForkedRuns(ask)
        requests.close()
        server.wait(timeout=60)


def train(words: list[str]) -> int:
    """train.py, with everything imported already."""
    import train

    sys.argv = [str(ROOT / "train.py"), *words]  # also what further ranks run
    try:
        train.main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def start(words: list[str], output: str, cwd: str) -> int:
    process = os.fork()
    if process == 0:
        os.setsid()
        os.chdir(cwd)
        written = os.open(output, os.O_WRONLY | os.O_APPEND)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(written, stream.fileno())
        status = train(words)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return process


def poll(process: int) -> int | None:
    found, status = os.waitpid(process, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def main() -> None:
    """Answers requests until there are no more."""
    import lightning.pytorch  # noqa: F401  (imported once, here)

    import srlab.app.training  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        answer = poll(request["poll"]) if "poll" in request else start(**request)
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
