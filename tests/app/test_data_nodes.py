"""Data whose file in ``conf/data`` is incomplete."""

import pytest

from srlab.app.data_nodes import build_data


def test_a_file_without_the_shared_arguments_is_told_what_to_include(tmp_path):
    node = {"_target_": "srlab.data.datasets.images", "root": str(tmp_path)}
    with pytest.raises(
        ValueError, match=r"'patch_size'.*srlab\.data\.datasets\.images.*loading@_here_: shared"
    ):
        build_data(node)
