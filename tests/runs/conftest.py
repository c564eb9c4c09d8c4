"""Photographs, and train.py in this process and in others."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from forked_runs import ForkedRuns, serving
from training_runs import Train, in_process, write_photos


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture
def train(photos, tmp_path, monkeypatch) -> Train:
    return in_process(photos, tmp_path, monkeypatch)


@pytest.fixture(scope="session")
def forked(tmp_path_factory) -> Iterator[ForkedRuns]:
    """Starts train.py as a process of its own, quickly."""
    with serving(tmp_path_factory.mktemp("forked")) as runs:
        yield runs
