"""Photographs, and train.py in this process."""

from pathlib import Path

import pytest

from training_runs import Train, in_process, write_photos


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture
def train(photos, tmp_path, monkeypatch) -> Train:
    return in_process(photos, tmp_path, monkeypatch)
