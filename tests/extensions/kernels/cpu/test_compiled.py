"""Building the kernels: once for a compiler and machine, and with a reason where that fails."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from native_kernels import NEEDS_KERNELS

WHY = "from srlab.extensions.kernels.cpu.compiled import why_unavailable; print(why_unavailable())"


def in_new_process(code, **environment):
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.strip()


@NEEDS_KERNELS
def test_are_built_once_and_shared(tmp_path):
    for _ in range(2):
        assert in_new_process(WHY, SRLAB_NATIVE_CACHE=str(tmp_path)) == "None"
        (built,) = tmp_path.glob("*.so")
        times = built.stat().st_mtime_ns
    assert built.stat().st_mtime_ns == times
    assert {path.suffix for path in tmp_path.iterdir()} <= {".so", ".lock"}


def test_without_a_compiler_the_reason_names_it_and_auto_says_so(tmp_path):
    code = """
import logging, torch, srlab
logging.basicConfig(level=logging.INFO)
network = srlab.create_model("elan_demo", scale=2).eval()
with torch.inference_mode():
    network(torch.rand(1, 3, 8, 8)), network(torch.rand(1, 3, 8, 8))
    print(network.backend)
network.use_backend("fused")
try:
    with torch.inference_mode():
        network(torch.rand(1, 3, 8, 8))
except RuntimeError as error:
    print(error)
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "SRLAB_NATIVE_CACHE": str(tmp_path), "CXX": "no-such-compiler"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    backend, error = result.stdout.strip().splitlines()
    assert backend == "sdpa"
    assert error.startswith("no C++ compiler found (no-such-compiler); install one")
    assert result.stderr.count("auto does without the fused kernels: no C++ compiler found") == 1


def test_a_compiler_that_fails_is_quoted(tmp_path):
    compiler = tmp_path / "broken"
    compiler.write_text("#!/bin/sh\necho cannot do that >&2\nexit 1\n")
    compiler.chmod(0o755)
    reason = in_new_process(WHY, SRLAB_NATIVE_CACHE=str(tmp_path / "cache"), CXX=str(compiler))
    assert "failed: cannot do that" in reason
    assert not list((tmp_path / "cache").glob("*.so"))


def test_an_unwritable_cache_is_a_reason(tmp_path):
    (tmp_path / "file").touch()
    assert "cannot be built or loaded" in in_new_process(WHY, SRLAB_NATIVE_CACHE=str(tmp_path / "file" / "x"))


def test_without_a_home_the_reason_says_so(tmp_path):
    code = (
        "import os, pathlib; pathlib.Path.home = lambda: (_ for _ in ()).throw(RuntimeError('no home')); "
        + WHY
    )
    variables = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME")}
    variables.pop("SRLAB_NATIVE_CACHE", None)
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, env=variables, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "no home; set SRLAB_NATIVE_CACHE" in result.stdout


@pytest.mark.slow  # compiles
@NEEDS_KERNELS
def test_a_compiler_may_have_arguments(tmp_path):
    reason = in_new_process(WHY, SRLAB_NATIVE_CACHE=str(tmp_path), CXX="c++ -DUNUSED=1")
    assert reason == "None"


@pytest.mark.slow
@NEEDS_KERNELS
@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system does not tell what is loaded")
def test_threads_are_those_of_torch():
    """A second OpenMP runtime in the process would fight with torch's over the cores."""
    code = f"""
import pathlib, torch
def runtimes():
    lines = pathlib.Path("/proc/self/maps").read_text().splitlines()
    return sorted({{line.split()[-1] for line in lines if "libgomp" in line or "libomp" in line}})
before = runtimes()
{WHY}
print(before == runtimes())
"""
    assert in_new_process(code).splitlines() == ["None", "True"]
