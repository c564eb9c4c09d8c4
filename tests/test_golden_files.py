"""Recorded outputs are never silently missing."""

import pytest

from golden_files import golden_files, load_golden


def test_a_mistyped_folder_of_recorded_outputs_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("golden_files.FURTHER", tmp_path / "absent")
    for options in ({}, {"beyond_selection": True}):
        with pytest.raises(FileNotFoundError, match=r"SRLAB_GOLDEN=.*absent is not a complete folder"):
            golden_files("elan/*.npz", **options)


def test_only_declared_patterns_may_lie_beyond_the_committed_selection(monkeypatch):
    monkeypatch.setattr("golden_files.FURTHER", None)
    assert golden_files("none/*.npz", beyond_selection=True) == []
    with pytest.raises(FileNotFoundError, match=r"no fixture matches none/\*.npz in .*golden"):
        golden_files("none/*.npz")


def test_further_outputs_are_preferred_and_do_not_hide_the_committed_ones(tmp_path, monkeypatch):
    monkeypatch.setattr("golden_files.FURTHER", None)
    committed = golden_files("keys/elan_*.json")
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/elan_new.json").write_text('{"new": true}')
    (tmp_path / committed[0]).write_text('{"changed": true}')
    monkeypatch.setattr("golden_files.FURTHER", tmp_path)
    assert golden_files("keys/elan_*.json") == sorted([*committed, "keys/elan_new.json"])
    assert load_golden("keys/elan_new.json").about == {"new": True}
    assert load_golden(committed[0]).about == {"changed": True}
    assert "changed" not in load_golden(committed[-1]).about
