"""Commands in processes forked from one that has imported everything: a start costs a second, not ten.

As a program it reads a request a line from its standard input, and answers each with a line. ``{"words": […],
"output": FILE, "cwd": FOLDER, "variables": {…}}`` starts the command in a session of its own, with variables
of its environment changed, and is answered by the number of its process; ``{"poll": NUMBER}`` by its status
as ``os.waitstatus_to_exitcode`` has it, or null while it runs. Processes that a command starts itself
(loaders, further ranks) are started as ever.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
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
    """A process that runs a command; it leads a process group."""

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
            time.sleep(0.05)
        return status

    @property
    def output(self) -> str:
        """What it has printed so far, errors included."""
        return self.log.read_text()


class ForkedRuns:
    """Starts commands."""

    def __init__(self, ask: Ask, logs: Path) -> None:
        self.ask = ask
        self.logs = logs

    def start(
        self, words: Sequence[object], *, cwd: Path, program: str = "train.py", **variables: str
    ) -> ForkedRun:
        """``python train.py``, ``python evaluate.py``, ``python -c`` or ``srlab`` with these words."""
        log = self.logs / f"{time.monotonic_ns()}.txt"
        log.touch()
        typed = [program, *map(str, words)]
        pid = self.ask(words=typed, output=str(log), cwd=str(cwd), variables=variables)
        return ForkedRun(pid, log, self.ask)

    def finish(
        self, words: Sequence[object], *, cwd: Path, program: str = "train.py", **variables: str
    ) -> str:
        """The same, which must end well; returns what it printed."""
        run = self.start(words, cwd=cwd, program=program, **variables)
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

        yield ForkedRuns(ask, folder)
        requests.close()
        server.wait(timeout=60)


def run(words: list[str]) -> int:
    """The command, with everything imported already."""
    program = words[0]
    sys.argv = [str(ROOT / program), *words[1:]]  # also what further ranks run
    module = "srlab.extensions.console.main" if program == "srlab" else program.removesuffix(".py")
    try:
        if program == "-c":
            exec(words[1], {})
            return 0
        return importlib.import_module(module).main() or 0
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1


def start(words: list[str], output: str, cwd: str, variables: Mapping[str, str]) -> int:
    process = os.fork()
    if process == 0:
        os.setsid()
        os.chdir(cwd)
        os.environ.update(variables)
        written = os.open(output, os.O_WRONLY | os.O_APPEND)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(written, stream.fileno())
        status = run(words)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return process


def poll(process: int) -> int | None:
    found, status = os.waitpid(process, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def main() -> None:
    """Answers requests until there are no more; what a failed test has left running is killed."""
    import lightning.pytorch  # noqa: F401  (imported once, here)

    import srlab.app.scoring
    import srlab.app.training
    import srlab.extensions.kernels.elan
    import srlab.extensions.wandb.logger  # noqa: F401
    from quick_composition import compose_quickly

    compose_quickly()

    running = set()
    for line in sys.stdin:
        request = json.loads(line)
        if "poll" in request:
            answer = poll(request["poll"])
            running -= set() if answer is None else {request["poll"]}
        else:
            answer = start(**request)
            running.add(answer)
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()
    for process in running:
        os.killpg(process, signal.SIGKILL)


if __name__ == "__main__":
    main()
