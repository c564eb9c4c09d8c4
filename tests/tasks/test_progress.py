"""Progress of a run: a bar on a terminal, one line a minute elsewhere."""

import logging
import sys

import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel

from srlab.tasks import progress
from srlab.tasks.progress import RunProgress


def fit(**options) -> None:
    Trainer(
        accelerator="cpu", max_steps=4, limit_val_batches=0, logger=False, enable_checkpointing=False,
        enable_model_summary=False, callbacks=[RunProgress(refresh_rate=1)], **options,
    ).fit(BoringModel())  # fmt: skip


@pytest.fixture
def lines(monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="srlab")
    monkeypatch.setattr(progress, "OncePerInterval", lambda: lambda: True)
    return lambda: [record.getMessage() for record in caplog.records if record.name == "srlab.tasks.progress"]


def test_without_a_terminal_there_are_lines_and_no_carriage_returns(lines, capfd):
    fit()
    assert [line.split(",")[0] for line in lines()] == [f"step {step} of 4" for step in (1, 2, 3, 4)]
    assert all("left" in line for line in lines())
    assert "\r" not in "".join(capfd.readouterr())


def test_on_a_terminal_there_is_a_bar(lines, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    fit()
    assert lines() == []
    shown = capsys.readouterr().out
    assert "\rtraining:" in shown
    assert "4/64" in shown
