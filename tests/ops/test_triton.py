"""Tests of the Triton kernels, in a process of their own: the interpreter is chosen before the import."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = sorted((Path(__file__).parent / "triton").glob("test_*.py"))

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")


def run_in_interpreter(tests, marks):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", marks, str(tests)]
    outcome = subprocess.run(
        command, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True, check=False
    )
    # 5: the file has no tests of these marks
    assert outcome.returncode in (0, 5), outcome.stdout + outcome.stderr


@pytest.mark.parametrize("tests", TESTS, ids=lambda path: path.stem)
def test_kernels_are_right_in_the_interpreter(tests):
    run_in_interpreter(tests, "not slow and not gpu")


@pytest.mark.slow
@pytest.mark.parametrize("tests", TESTS, ids=lambda path: path.stem)
def test_large_windows_are_right_in_the_interpreter(tests):
    run_in_interpreter(tests, "slow and not gpu")


def test_tests_of_the_kernels_exist():
    assert [path.stem for path in TESTS] == ["test_attention", "test_convolution", "test_networks"]
