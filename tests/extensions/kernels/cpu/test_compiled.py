"""Building the kernels: once for a compiler and machine, and with a reason where that fails."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import srlab
from native_kernels import NEEDS_KERNELS
from srlab.extensions.kernels.cpu import compiled
from srlab.extensions.kernels.cpu.compiled import why_unavailable


@pytest.fixture
def built_anew(tmp_path, monkeypatch):
    """Nothing is loaded, and the cache folder is empty; calling it forgets again what was loaded."""

    def forget():
        for cached in (compiled.library, compiled.why_unavailable, compiled._compiler):
            cached.cache_clear()

    monkeypatch.setenv("SRLAB_NATIVE_CACHE", str(tmp_path / "cache"))
    forget()
    yield forget
    forget()


@pytest.mark.slow
@NEEDS_KERNELS
def test_are_built_once_and_shared(built_anew, tmp_path):
    times = []
    for _ in range(2):
        built_anew()
        assert why_unavailable() is None
        (built,) = (tmp_path / "cache").glob("*.so")
        times.append(built.stat().st_mtime_ns)
    assert times[0] == times[1]
    assert {path.suffix for path in built.parent.iterdir()} <= {".so", ".lock"}


def test_without_a_compiler_the_reason_names_it_and_auto_says_so(built_anew, monkeypatch, caplog):
    monkeypatch.setenv("CXX", "no-such-compiler")
    network = srlab.create_model("elan_demo", scale=2).eval()
    with torch.inference_mode():
        network(torch.rand(1, 3, 8, 8))
        network(torch.rand(1, 3, 8, 8))
        assert network.backend == "sdpa"
        no_compiler = "no C++ compiler found (no-such-compiler); install one"
        assert caplog.text.count(f"backend auto cannot use the fused kernels: {no_compiler}") == 1
        network.use_backend("fused")
        with pytest.raises(compiled.NativeUnavailableError) as raised:
            network(torch.rand(1, 3, 8, 8))
    assert str(raised.value).startswith(no_compiler)


def test_a_compiler_that_fails_is_quoted(built_anew, tmp_path, monkeypatch):
    compiler = tmp_path / "broken"
    compiler.write_text('#!/bin/sh\n[ "$1" = --version ] && exit\necho cannot do that >&2\nexit 1\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    assert "failed: cannot do that" in (why_unavailable() or "")
    assert not list((tmp_path / "cache").glob("*.so"))


def test_an_unwritable_cache_is_a_reason(built_anew, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SRLAB_NATIVE_CACHE", str(tmp_path / "file" / "x"))
    assert "cannot be built or loaded" in (why_unavailable() or "")


def test_without_a_home_the_reason_says_so(built_anew, monkeypatch):
    def no_home():
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.delenv("SRLAB_NATIVE_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert "no home; set SRLAB_NATIVE_CACHE" in (why_unavailable() or "")


@pytest.mark.slow  # compiles
@NEEDS_KERNELS
def test_a_compiler_may_have_arguments(built_anew, monkeypatch):
    monkeypatch.setenv("CXX", "c++ -DUNUSED=1")
    assert why_unavailable() is None


@pytest.mark.slow
@NEEDS_KERNELS
@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system does not tell what is loaded")
def test_threads_are_those_of_torch():
    """A second OpenMP runtime in the process would fight with torch's over the cores."""
    code = """
import pathlib, torch
from srlab.extensions.kernels.cpu.compiled import why_unavailable
def runtimes():
    lines = pathlib.Path("/proc/self/maps").read_text().splitlines()
    return sorted({line.split()[-1] for line in lines if "libgomp" in line or "libomp" in line})
before = runtimes()
print(why_unavailable(), before == runtimes())
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["None", "True"]
