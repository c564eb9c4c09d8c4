"""Whatever is wrong with W&B: logging continues or ends with one warning, and never raises, asks or hangs."""

import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import wandb
from lightning.fabric.utilities.rank_zero import rank_zero_only

from srlab.extensions.wandb.logger import TolerantWandbLogger
from wandb_log import read_logs
from wandb_server import wandb_server

KEY = "0" * 40


@pytest.fixture
def build(tmp_path, fresh_wandb):
    """A logger that is ended with the test; the server that it would talk to is named by ``url``."""
    built = []

    def build(mode: str, *, url: str | None = None, key: str | None = KEY, folder: Path = tmp_path):
        if url is not None:
            fresh_wandb.setenv("WANDB_BASE_URL", url)
        if key is not None:
            fresh_wandb.setenv("WANDB_API_KEY", key)
        where = {"project": "p", "name": "n", "save_dir": str(folder), "mode": mode, "id": "abcd1234"}
        limits = {"init_timeout_s": 1, "finish_timeout_s": 1}
        built.append(TolerantWandbLogger(**where, group=None, tags=[], **limits))
        return built[-1]

    yield build
    for logger in built:
        logger.finish(exit_code=0)


@pytest.fixture
def nobody():
    """A port that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def use(logger: TolerantWandbLogger, *, first: int = 0) -> None:
    """All that a run asks of its logger."""
    logger.log_hyperparams({"scale": 2})
    logger.log_metrics({"val/psnr": 30.0}, step=first)
    logger.log_summary({"params/all": 7})
    logger.log_image("comparison", [np.zeros((4, 4, 3), np.uint8)], step=first)


def told(caplog) -> list[str]:
    return [
        record.getMessage() for record in caplog.records if record.name == "srlab.extensions.wandb.logger"
    ]


def test_without_its_server_a_run_is_logged_offline(build, nobody, tmp_path, caplog):
    logger = build("online", url=nobody)
    use(logger)
    logger.finish(exit_code=0)
    (message,) = told(caplog)
    assert "connection refused" in message
    assert f"wandb sync {tmp_path}/wandb/offline-run-*" in message
    wandb.teardown()  # as the end of a program does: the client's process writes what it holds
    log = read_logs(tmp_path)[-1]
    assert log.run["id"] == "abcd1234"
    assert log.history[0]["val/psnr"] == 30
    assert (log.summary["params/all"], log.exit_code) == (7, 0)


def test_without_a_key_nobody_is_asked_for_one(build, nobody, tmp_path, caplog, monkeypatch):
    """Not even at a terminal."""
    monkeypatch.setattr("wandb.errors.term.can_use_terminput", lambda: True)
    monkeypatch.setattr("wandb.util.prompt_choices", lambda *_, **__: pytest.fail("it asks"))
    logger = build("online", url=nobody, key=None)
    use(logger)
    (message,) = told(caplog)
    assert "there is no API key" in message
    assert (tmp_path / "wandb").exists()


def test_what_a_dead_server_did_not_take_stays_on_the_disk(build, tmp_path, caplog):
    with wandb_server() as received:
        logger = build("online", url=received.url)
        use(logger)
    use(logger, first=1)
    logger.finish(exit_code=0)
    (message,) = told(caplog)
    assert "not all was uploaded within 1 s" in message
    assert f"wandb sync {tmp_path}/wandb/run-*" in message
    wandb.teardown()
    assert [row["trainer/global_step"] for row in read_logs(tmp_path)[-1].history] == [1, 1, 2, 2]


KILLED = """
import os, signal, subprocess, sys
from srlab.extensions.wandb.logger import TolerantWandbLogger
limits = {"init_timeout_s": 10, "finish_timeout_s": 10}
logger = TolerantWandbLogger(
    project="p", name="n", save_dir=sys.argv[1], mode="offline", id=None, group=None, tags=[], **limits
)
logger.log_metrics({"val/psnr": 30.0}, step=0)
processes = subprocess.run(["pgrep", "-P", str(os.getpid()), "wandb-core"], capture_output=True, text=True)
(pid,) = processes.stdout.split()
os.kill(int(pid), signal.SIGKILL)
os.waitpid(int(pid), 0)
for step in range(1, 100):
    logger.log_metrics({"val/psnr": 30.0}, step=step)
logger.log_summary({"params/all": 7})
logger.finish(exit_code=0)
print(logger.closing_line)
"""


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_wandb")
def test_a_killed_client_process_ends_the_logging_only(tmp_path):
    """In a process of its own: what is left of the client is not fit for another test."""
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert (ended.returncode, ended.stdout) == (0, "None\n"), ended.stderr
    assert ended.stderr.count("metrics.csv has the curve") == 1


def full(*_, **__):
    raise OSError(28, "No space left on device")


def test_a_full_disk_ends_the_logging_only(build, caplog, monkeypatch):
    logger = build("offline")
    monkeypatch.setattr("srlab.extensions.wandb.logger._write_block", full)
    for step in range(3):
        use(logger, first=step)
    logger.finish(exit_code=0)
    assert told(caplog) == ["W&B: OSError: [Errno 28] No space left on device; metrics.csv has the curve"]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 200 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs root to mount a small file system; the test above fakes one")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_disk_that_fills_up_ends_the_logging_only(build, small_disk, caplog):
    """W&B's own process says nothing when it cannot write."""
    logger = build("offline", folder=small_disk)
    use(logger)
    (small_disk / "ballast").write_bytes(b"\0" * (os.statvfs(small_disk).f_bavail * 4096))
    for step in range(1, 4):
        use(logger, first=step)
    logger.finish(exit_code=0)
    (message,) = told(caplog)
    assert "No space left on device" in message


def test_a_client_that_cannot_even_start_offline_is_left_out(build, caplog, monkeypatch):
    logger = build("offline")
    monkeypatch.setattr("wandb.init", full)
    use(logger)
    logger.finish(exit_code=0)
    assert told(caplog) == ["W&B: OSError: [Errno 28] No space left on device; metrics.csv has the curve"]


def test_disabled_writes_nothing_and_says_nothing(build, tmp_path, caplog):
    logger = build("disabled")
    use(logger)
    logger.finish(exit_code=0)
    assert (told(caplog), logger.closing_line) == ([], None)
    assert not list(tmp_path.rglob("*.wandb"))


def test_other_ranks_than_the_first_talk_to_nobody(build, tmp_path, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = build("offline")
    logger.log_hyperparams({"scale": 2})
    logger.log_metrics({"val/psnr": 30.0}, step=0)
    logger.log_summary({"best/step": 1})
    logger.experiment.define_metric("val/psnr")
    logger.finish(exit_code=0)
    assert not (tmp_path / "wandb").exists()


@pytest.fixture(autouse=True)
def _warnings_are_seen(caplog):
    caplog.set_level(logging.WARNING)
