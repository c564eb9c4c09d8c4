"""Tests of the Triton kernels, in a process of their own: the interpreter is chosen before the import."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = sorted((Path(__file__).parent / "triton").glob("test_*.py"))

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")


@pytest.mark.slow
def test_kernels_are_right_in_the_interpreter():
    """All cases but those of large windows, which take minutes there; a GPU runs them too."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, TESTS)]
    outcome = subprocess.run(
        command,
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=840,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_tests_of_the_kernels_exist():
    assert [path.stem for path in TESTS] == ["test_attention", "test_local_features", "test_networks"]
