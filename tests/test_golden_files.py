"""Recorded outputs are never silently missing."""

import pytest

from golden_files import COMMITTED, golden_files


def test_a_mistyped_folder_of_recorded_outputs_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("golden_files.ROOT", tmp_path)
    for options in ({}, {"beyond_selection": True}):
        with pytest.raises(
            FileNotFoundError, match=r"no fixture matches elan/\*.npz .*SRLAB_GOLDEN must name"
        ):
            golden_files("elan/*.npz", **options)


def test_only_declared_patterns_may_lie_beyond_the_committed_selection(monkeypatch):
    monkeypatch.setattr("golden_files.ROOT", COMMITTED)
    assert golden_files("none/*.npz", beyond_selection=True) == []
    with pytest.raises(
        FileNotFoundError, match=r"no fixture matches none/\*.npz .*the selection in tests/gol"
    ):
        golden_files("none/*.npz")
