"""Fixtures that every test may use."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hydra.core.hydra_config import HydraConfig

from forked_runs import ForkedRuns, serving
from quick_composition import compose_quickly

# Seconds for a test that trains, or that compiles for a GPU, on a busy machine.
LONG_S = 900


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The limit of pyproject.toml is one of quick tests."""
    for item in items:
        is_long = item.get_closest_marker("slow") or item.get_closest_marker("gpu")
        if is_long and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(LONG_S))


@pytest.fixture(scope="session", autouse=True)
def _few_threads():
    """Small tensors: more threads only add overhead, and parallel test runs share the cores."""
    torch.set_num_threads(int(os.environ.get("SRLAB_TEST_THREADS", "1")))


@pytest.fixture(autouse=True)
def _no_configuration_is_left():
    """Hydra keeps that of the last run in this process."""
    yield
    HydraConfig.instance().cfg = None


@pytest.fixture(autouse=True)
def _number_of_threads_is_kept():
    """A run sets its own; a process that is forked later would wait for threads that it does not have."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def _quick_composition():
    compose_quickly()


@pytest.fixture(autouse=True)
def _no_handlers_are_left():
    """Hydra adds handlers for the log of a run to the root logger, and their streams close with the test."""
    before = set(logging.root.handlers)
    yield
    for handler in set(logging.root.handlers) - before:
        if type(handler) in (logging.StreamHandler, logging.FileHandler):
            logging.root.removeHandler(handler)
            handler.close()


@pytest.fixture(scope="session")
def real_images() -> Path:
    """Folder with ``benchmark/`` and ``train/`` photographs, named by SRLAB_DATA."""
    root = os.environ.get("SRLAB_DATA")
    if not root:
        pytest.skip("needs real images: set SRLAB_DATA to a folder with benchmark/Set5/HR …")
    return Path(root)


@pytest.fixture(scope="session")
def forked(tmp_path_factory) -> Iterator[ForkedRuns]:
    """Starts commands as processes of their own, quickly."""
    with serving(tmp_path_factory.mktemp("forked")) as runs:
        yield runs
