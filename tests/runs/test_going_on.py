"""resume=auto, damaged checkpoints, finished runs, and who may write to a run's folder."""

import json
import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from srlab.runs.folder import RunFolder
from training_runs import (
    ROOT,
    assert_same_state,
    checkpoint,
    curve,
    in_process,
    killed_after_saving,
)

RUN = ("trainer.max_steps=6", "validate_every=2", "callbacks=ema")


@pytest.fixture
def said(capsys):
    """All that was printed so far: Hydra sets up logging anew for each run, out of reach of caplog."""
    parts = []

    def text() -> str:
        parts.extend(capsys.readouterr())
        return "".join(parts)

    return text


@pytest.fixture(scope="module")
def finished(photos, tmp_path_factory) -> Path:
    """A run of six steps with a moving average, that never stopped."""
    with pytest.MonkeyPatch.context() as patch:
        return in_process(photos, tmp_path_factory.mktemp("finished"), patch)(*RUN)


@pytest.fixture
def broken_off(train, tmp_path):
    """The same run, as a kill leaves it right after the checkpoint ``name`` of step 4 was written."""

    def run(name: str, *words: str, into: str = "run", **network: tuple[str, ...]) -> Path:
        with killed_after_saving(4, name):
            train(*words, into=into, **network)
        return tmp_path / into

    return run


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in ("best", "last")])
def test_auto_goes_on_from_the_newest_checkpoint_to_the_same_last_bit(
    name, broken_off, train, finished, said
):
    """Killed between the files of step 4, the newest is best.ckpt; oracle: the run that never stopped."""
    run = broken_off(name, *RUN)
    train(*RUN, "resume=auto")
    assert f"resuming after step 4, from {run / 'checkpoints' / name}.ckpt" in said()
    assert_same_state(run, finished)
    assert curve(run) == curve(finished)
    best = [checkpoint(each, "best")["state_dict"] for each in (run, finished)]
    torch.testing.assert_close(best[0], best[1], rtol=0, atol=0)


def middle_of_largest_record(file: Path) -> int:
    """Offset of a byte that a checksum covers: between its records a checkpoint is padded."""
    with zipfile.ZipFile(file) as archive:
        record = max(archive.infolist(), key=lambda each: each.file_size)
    header = file.read_bytes()[record.header_offset :]
    name, extra = struct.unpack("<HH", header[26:30])  # their lengths, in a local file header of 30 bytes
    return record.header_offset + 30 + name + extra + record.file_size // 2


@pytest.mark.parametrize("damage", [pytest.param("truncated", marks=pytest.mark.slow), "a byte changed"])
def test_auto_passes_over_a_damaged_checkpoint_and_says_so(damage, broken_off, train, finished, said):
    run = broken_off("last", *RUN)
    last = run / "checkpoints" / "last.ckpt"
    content = bytearray(last.read_bytes())
    if damage == "truncated":
        del content[len(content) // 2 :]
    else:
        content[middle_of_largest_record(last)] ^= 0xFF
    last.write_bytes(content)
    os.utime(run / "checkpoints" / "best.ckpt", (0, 0))  # as after a clock that jumped; dates tell nothing
    with pytest.raises(SystemExit, match="2"):
        train(f"resume={run}")
    assert "cannot resume from" in said()
    assert f"resume={run / 'checkpoints' / 'best.ckpt'}" in said()
    train(*RUN, "resume=auto")
    assert f"skips a checkpoint: {last} is " in said()
    assert_same_state(run, finished)


def test_auto_starts_anew_where_nothing_was_saved(train, tmp_path, finished, said):
    """What an attempt left that never saved is replaced, a damaged file kept aside."""
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").write_text((finished / "config.yaml").read_text())
    (run / "metrics.csv").write_text("step,lr-Adam\n1,9\n99,9\n")
    (run / "checkpoints" / "last.ckpt").write_bytes(b"PK")
    (run / "checkpoints" / ".best.ckpt.partial").write_bytes(b"PK")
    train(*RUN, "resume=auto")
    assert "an earlier attempt saved no state to resume from" in said()
    assert_same_state(run, finished)
    assert curve(run) == curve(finished)
    names = {path.name for path in (run / "checkpoints").iterdir()}
    assert names == {"best.ckpt", "last.ckpt", "last.ckpt.damaged"}


def test_a_finished_run_says_so_and_returns_its_score(train, tmp_path, finished, said):
    run = tmp_path / "run"
    run.symlink_to(finished)
    before = {
        path: path.stat().st_mtime_ns for path in sorted(finished.rglob("*.*")) if path.suffix != ".log"
    }
    summary = json.loads((finished / "summary.json").read_text())
    train(*RUN, "resume=auto")
    train(f"resume={finished}")
    assert said().count(f"is finished: 6 steps, {summary['val/psnr']:.2f} dB") == 2
    after = {path: path.stat().st_mtime_ns for path in before}
    assert [path.name for path in before if after[path] != before[path]] == [".running"]
    with pytest.raises(SystemExit, match="2"):
        train(f"resume={finished}", "trainer.max_steps=4")
    assert "has been trained for 6 steps already, more than trainer.max_steps=4" in said()


@pytest.mark.slow
def test_a_run_that_was_killed_in_its_report_reports_and_trains_no_more(train, finished, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    for name in ("config.yaml", "metrics.csv", "checkpoints"):
        subprocess.run(["cp", "-r", finished / name, run / name], check=True)
    train(*RUN, "resume=auto")
    assert_same_state(run, finished)
    assert curve(run) == curve(finished)
    summaries = [json.loads((each / "summary.json").read_text()) for each in (run, finished)]
    assert summaries[0]["scores"] == summaries[1]["scores"]


@pytest.mark.slow
def test_auto_refuses_a_folder_of_another_configuration_and_names_the_keys(train, broken_off, said):
    run = broken_off("last", *RUN)
    before = (run / "config.yaml").read_text()
    with pytest.raises(SystemExit, match="2"):
        train(*RUN, "resume=auto", "optimizer.lr=0.1", "model.n_share=3")
    assert "was started with another configuration; it differs in model.n_share, optimizer.lr." in said()
    assert (run / "config.yaml").read_text() == before


@pytest.mark.slow
def test_auto_without_a_folder_finds_the_unfinished_run_of_the_same_configuration(
    broken_off, train, tmp_path
):
    """Among others: one of another configuration, one that is finished. No second such run is begun."""
    runs = tmp_path / "outputs" / "elan_demo_x2"
    mine = broken_off("last", *RUN, into="outputs/elan_demo_x2/2020-01-01_00-00-00")
    broken_off("last", *RUN, "seed=3", into="outputs/elan_demo_x2/2020-01-01_00-00-01")
    before = set(runs.iterdir())
    argv = [
        *sys.argv[:1],
        *(word for word in sys.argv[1:] if "hydra.run.dir" not in word and word != "seed=3"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        import train as entry_point

        patch.setattr(sys, "argv", [*argv, "resume=auto"])
        entry_point.main()
        assert set(runs.iterdir()) == before
        assert (mine / "summary.json").exists()
        patch.setattr(sys, "argv", [*argv, "resume=auto"])
        entry_point.main()
    assert len(set(runs.iterdir()) - before) == 1  # the finished one is no run to go on with


def test_two_processes_do_not_write_to_one_run(train, tmp_path, said):
    """The holder is killed by SIGKILL at last: nothing needs cleaning up."""
    run = tmp_path / "run"
    program = (
        "import sys, time, pathlib\nfrom srlab.runs.folder import locked_run\n"
        "with locked_run(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(600)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", program, str(run)], stdout=subprocess.PIPE, cwd=ROOT)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert RunFolder(run).is_running
        with pytest.raises(SystemExit, match="2"):
            train(*RUN, "resume=auto")
        assert f"is being written by process {holder.pid} on " in said()
    finally:
        holder.kill()
        holder.wait()
    assert not RunFolder(run).is_running


@pytest.mark.slow
def test_the_random_numbers_of_a_step_survive_a_kill(train, broken_off):
    """SwinIR drops branches at random in training; oracle: the run that never stopped."""
    network = (
        *("model=swinir_light", "model.dim=12", "model.depths=[2,2]", "model.num_heads=[2,2]"),
        *("model.window_size=4", "model.drop_path=0.5"),
    )
    steps = ("trainer.max_steps=6", "validate_every=2", "trainer.accumulate_grad_batches=2")
    whole = train(*steps, into="whole", network=network)
    run = broken_off("last", *steps, network=network)
    train(*steps, "resume=auto", network=network)
    assert_same_state(run, whole)
    assert curve(run) == curve(whole)
