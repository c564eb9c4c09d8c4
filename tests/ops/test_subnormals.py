import subprocess
import sys

import pytest
import torch
from torch.testing import assert_close

import srlab
from srlab.ops.subnormals import set_flush_subnormals, subnormal_mode, subnormals_are_flushed
from subnormal_probe import ELEMENTS, halves_kept

pytestmark = pytest.mark.skipif(
    not torch.set_flush_denormal(False), reason="this processor cannot flush subnormal numbers"
)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_flushing_reaches_threads_that_were_started_before(two_threads):
    assert halves_kept() == ELEMENTS
    with srlab.flush_subnormals():
        assert halves_kept() == 0
    assert halves_kept() == ELEMENTS


def test_the_mode_found_on_entry_is_restored_after_an_error(two_threads):
    with srlab.flush_subnormals():
        with pytest.raises(KeyError, match="inner"), srlab.flush_subnormals(False):
            raise KeyError("inner")
        assert halves_kept() == 0
    assert halves_kept() == ELEMENTS


def test_operands_are_flushed_too():
    subnormal = torch.tensor(torch.finfo(torch.float32).tiny) * 0.5
    with srlab.flush_subnormals():
        assert float(subnormal * 2.0**20) == 0


def test_records_name_the_mode():
    assert subnormal_mode() == "kept"
    with srlab.flush_subnormals(), torch.device("meta"):
        assert subnormal_mode() == "flushed"
        assert subnormals_are_flushed()


def test_normal_numbers_are_computed_to_the_same_bits(two_threads):
    image = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    network = srlab.create_model("edsr_baseline", scale=2).eval()
    with torch.inference_mode():
        kept = network(image)
        with srlab.flush_subnormals():
            flushed = network(image)
    assert_close(flushed, kept, rtol=0, atol=0)


@pytest.mark.slow
def test_neither_import_nor_a_new_network_changes_the_mode():
    program = (
        "import srlab; from srlab.ops.subnormals import subnormal_mode; "
        "srlab.create_model('bicubic', scale=2); print(subnormal_mode())"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )
    assert answer.stdout.split() == ["kept"]


def test_setting_the_mode_lasts_until_it_is_set_again(two_threads):
    set_flush_subnormals(True)
    try:
        assert halves_kept() == 0
    finally:
        set_flush_subnormals(False)
    assert halves_kept() == ELEMENTS
