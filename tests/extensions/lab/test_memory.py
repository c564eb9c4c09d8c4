import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from srlab.counts.probe import explain_out_of_memory
from srlab.extensions.lab import memory
from srlab.extensions.lab.memory import measure_peak_memory

MIB = 2**20


class Holder(nn.Module):
    """Holds ``count`` tensors of ``mib`` each at once."""

    def __init__(self, count, mib):
        super().__init__()
        self.count, self.mib = count, mib

    def forward(self, lr_image):
        held = [lr_image.new_ones(self.mib * MIB // 4) for _ in range(self.count)]
        return lr_image + len(held)


def needs_peak_of_resident_memory():
    report = measure_peak_memory(Holder(1, 1), (8, 8), device="cpu", dtype=torch.float32)
    if report.peak_mib is None:
        pytest.skip(report.unavailable)


PROGRAM = """
import torch
from test_memory import Holder
from srlab.extensions.lab.memory import measure_peak_memory
for count, mib in ((4, 25), (4, 25), (60, 1), (60, 1)):
    print(measure_peak_memory(Holder(count, mib), (8, 8), device="cpu", dtype=torch.float32).peak_mib)
"""


@pytest.mark.slow  # a process of its own
def test_cpu_peak_is_what_is_held_at_once():
    """In a new process, where no other test has left free memory to the allocator.

    Each twice: the second time the allocator could serve from memory that it kept.
    """
    needs_peak_of_resident_memory()
    output = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=Path(__file__).parent, check=True, capture_output=True, text=True
    )
    peaks = [float(line) for line in output.stdout.split()]
    assert peaks == pytest.approx([100, 100, 60, 60], abs=5)


def test_report_carries_its_conditions():
    report = measure_peak_memory(Holder(1, 1), (6, 8), device="cpu", dtype=torch.float32)
    assert (report.dtype, report.input_shape, report.backend) == ("float32", (1, 3, 6, 8), None)
    assert report.kind == "resident memory growth"
    assert report.torch_version == torch.__version__


def test_no_number_is_invented_where_the_peak_cannot_be_reset(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_CLEAR_REFS", tmp_path / "missing" / "clear_refs")
    report = measure_peak_memory(Holder(1, 1), (8, 8), device="cpu", dtype=torch.float32)
    assert report.peak_mib is None
    assert "cannot reset the peak" in report.unavailable


def test_no_number_is_invented_where_the_reset_has_no_effect(monkeypatch, tmp_path):
    (tmp_path / "status").write_text("VmHWM:\t 900000 kB\nVmRSS:\t 100000 kB\n")
    monkeypatch.setattr(memory, "_CLEAR_REFS", tmp_path / "clear_refs")
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "status")
    report = measure_peak_memory(Holder(1, 1), (8, 8), device="cpu", dtype=torch.float32)
    assert report.peak_mib is None
    assert "stays at 900000 KiB, 100000 KiB are in use" in report.unavailable


def test_out_of_memory_on_the_cpu_says_what_to_do():
    with (
        pytest.raises(
            MemoryError, match=r"a 339x510 image does not fit into the memory of cpu: use smaller"
        ) as caught,
        explain_out_of_memory((339, 510), torch.device("cpu")),
    ):
        torch.empty(10**15)
    assert "allocate" in str(caught.value.__cause__)


def test_out_of_memory_on_cuda_says_what_to_do():
    with (
        pytest.raises(MemoryError, match=r"memory of cuda:1: .*backend=sdpa"),
        explain_out_of_memory((339, 510), torch.device("cuda:1")),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def test_other_errors_pass_unchanged():
    with (
        pytest.raises(RuntimeError, match="shapes differ"),
        explain_out_of_memory((3, 5), torch.device("cpu")),
    ):
        raise RuntimeError("shapes differ")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_peak_is_what_is_held_at_once():
    report = measure_peak_memory(Holder(4, 25), (8, 8), device="cuda", dtype=torch.float32)
    assert report.peak_mib == pytest.approx(100 + torch.cuda.memory_allocated() / MIB, abs=1)
    assert report.reserved_mib >= report.peak_mib
