"""benchmarks/attention_memory.py counts what the authors' attention holds."""

import pytest
from benchmarks.attention_memory import AUTHORS_NLSN, nlsn_floats


@pytest.mark.parametrize(
    ("dim", "chunk_size", "num_rounds", "measured"),
    [(64, 36, 2, 1560.0), (48, 24, 5, 2616.0), (256, 144, 4, AUTHORS_NLSN)],
)
def test_the_formula_gives_the_peak_of_the_authors_code(dim, chunk_size, num_rounds, measured):
    """Oracle: counted while the authors' attention ran, at fb3d4225, floats for each LR pixel."""
    assert measured == nlsn_floats(dim=dim, reduction=4, chunk_size=chunk_size, num_rounds=num_rounds)
