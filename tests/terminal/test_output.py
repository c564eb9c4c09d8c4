"""A closed pipe and a full disk: the work is done, the exit status tells what became of the output."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from pathlib import Path
from srlab.terminal.output import lasting_output

with lasting_output():
    for line in range({lines}):
        print("line", line, flush={flush})
    Path({mark!r}).touch()
    {then}
"""


def ended(mark: Path, *, into: object, then: str = "", lines: int = 20_000, flush: bool = False, **options):
    program = PROGRAM.format(mark=str(mark), then=then, lines=lines, flush=flush)
    return subprocess.run(
        [sys.executable, "-c", program], stdout=into, stderr=subprocess.PIPE, text=True, timeout=60, **options
    )


@pytest.fixture
def no_reader():
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


@pytest.mark.parametrize("lines", [1, 20_000])
def test_a_closed_pipe_ends_quietly_once_the_work_is_done(tmp_path, no_reader, lines):
    """As any program in a pipeline: 128 and SIGPIPE."""
    result = ended(tmp_path / "done", into=no_reader, lines=lines)
    assert (result.returncode, result.stderr) == (141, "")
    assert (tmp_path / "done").exists()


@full
@pytest.mark.parametrize("lines", [1, 20_000])
def test_a_full_disk_is_told_once_the_work_is_done(tmp_path, lines):
    with Path("/dev/full").open("w") as device:
        result = ended(tmp_path / "done", into=device, lines=lines)
    assert result.returncode == 1
    assert result.stderr.startswith("error: standard output cannot be written: [Errno 28]")
    assert result.stderr.count("\n") == 1
    assert (tmp_path / "done").exists()


@pytest.mark.parametrize(("then", "status"), [("sys.exit(2)", 2), ("sys.exit(0)", 141), ("sys.exit()", 141)])
def test_a_failure_keeps_its_own_status(tmp_path, no_reader, then, status):
    assert ended(tmp_path / "done", into=no_reader, then=then).returncode == status


def test_what_was_closed_from_the_start_is_no_fault(tmp_path):
    result = ended(tmp_path / "done", into=None, preexec_fn=lambda: os.close(1))
    assert (result.returncode, result.stderr) == (0, "")
    assert (tmp_path / "done").exists()


def test_output_that_can_be_written_arrives(tmp_path):
    program = PROGRAM.format(mark=str(tmp_path / "done"), then="print('Δ \\udcff')", lines=1, flush=False)
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        timeout=60,
    )
    assert (result.returncode, result.stdout) == (0, b"line 0\n\\u0394 \\udcff\n")
