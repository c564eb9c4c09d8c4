"""srlab profile: what it measures, prints and records, and what it refuses."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from rich.console import Console

from srlab.extensions.console import profile as profile_verb
from srlab.extensions.console.main import main
from srlab.extensions.lab import loader, running, session
from srlab.extensions.lab.latency import Spread
from srlab.extensions.lab.session import Memory
from srlab.extensions.lab.tables import size_table

BRIEF = ("--device", "cpu", "--rounds", "1", "--warmup", "0", "--threads", "1")
QUICK = ("elan_demo", "--size", "16x16", *BRIEF)
NONE = ("--record", "none")


@pytest.fixture
def true_memory():
    """Memory is really measured; elsewhere it does not matter, and takes most of the time."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch, request):
    """The rate of a small product is measured quickly; its value does not matter here."""
    if "true_memory" not in request.fixturenames:
        monkeypatch.setattr(session, "_cpu_memory", lambda run, _device: Memory(live_mib=1.0))
    monkeypatch.setattr(running, "_LONG_ENOUGH_MS", {"cpu": 0.0})


def profile(capsys, *words, status=0):
    assert main(["profile", *words]) == status
    return capsys.readouterr()


def last_line(printed):
    return json.loads(printed.out.splitlines()[-1])


def subjects_of(record):
    return record["sizes"][0]["subjects"]


def test_the_last_line_is_the_record(tmp_path, capsys):
    path = tmp_path / "records" / "lab.json"
    words = [*QUICK, "--backend", "reference,sdpa", "--dtype", "float32,bfloat16", "--record", str(path)]
    printed = profile(capsys, *words)
    record = last_line(printed)
    assert record == json.loads(path.read_text())
    assert f"wrote {path}" in printed.err
    assert [each["label"] for each in subjects_of(record)] == [
        "elan_demo/reference/float32/eager", "elan_demo/reference/bfloat16/eager",
        "elan_demo/sdpa/float32/eager", "elan_demo/sdpa/bfloat16/eager",
    ]  # fmt: skip
    assert record["settings"]["baseline"] == "elan_demo/reference/float32/eager"
    assert record["conditions"]["command"] == " ".join(["srlab profile", *words])
    assert list(record["matrix_gflop_per_s"]) == ["float32", "bfloat16"]


def test_figures_follow_from_time_count_and_matrix_rate(capsys):
    words = ["--batch", "2", "--scale", "2", "--backend", "reference", *NONE]
    record = last_line(profile(capsys, *QUICK, *words))
    (run,) = record["sizes"]
    (figures,) = run["subjects"]
    assert (run["lr_size"], run["output_size"], figures["padded_size"]) == ([16, 16], [32, 32], [16, 16])
    rate = 2 * 1000 / figures["time_ms"]["median"]
    assert figures["images_per_second"] == pytest.approx(rate)
    assert figures["megapixels_per_second"] == pytest.approx(rate * 32 * 32 / 1e6)
    assert figures["gflop_per_second"] == pytest.approx(2 * figures["multiply_adds"] * rate / 1e9)
    assert figures["share_of_matrix_rate"] == pytest.approx(
        figures["gflop_per_second"] / record["matrix_gflop_per_s"]["float32"]
    )
    assert figures["speedup"] == {"median": 1, "p10": 1, "p90": 1}


def test_a_record_lies_in_profiles_by_default_and_nowhere_if_so_wished(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    profile(capsys, "bicubic", *QUICK[1:], *NONE)
    assert list(tmp_path.iterdir()) == []
    record = last_line(profile(capsys, "bicubic", *QUICK[1:]))
    (path,) = (tmp_path / "profiles").iterdir()
    assert json.loads(path.read_text()) == record


def test_output_is_width_times_height_and_sizes_follow_one_another(capsys):
    words = ["bicubic", *BRIEF, "--scale", "2", "--output", "40x20,21x33", *NONE]
    assert [run["lr_size"] for run in last_line(profile(capsys, *words))["sizes"]] == [[10, 20], [17, 11]]


def test_parameters_are_crossed_with_networks(capsys):
    """Oracle: a network that shares attention has fewer weights, so it executes fewer multiply-adds."""
    words = ["--set", "n_share=0,1", "--set", "model.depth=4", "--backend", "reference", *NONE]
    record = last_line(profile(capsys, *QUICK, *words))
    none, one = subjects_of(record)
    assert [none["model"], one["model"]] == ["elan_demo n_share=0 depth=4", "elan_demo n_share=1 depth=4"]
    assert none["multiply_adds"] > one["multiply_adds"]


def test_networks_without_back_ends_give_one_row_and_what_lacks_one_is_noted(true_memory, capsys):
    printed = profile(capsys, "bicubic", "elan_demo", "hit_sir", "--backend", "sdpa", *QUICK[1:], *NONE)
    record = last_line(printed)
    assert [each["model"] for each in subjects_of(record)] == ["bicubic", "elan_demo"]
    assert "skipped hit_sir/sdpa: HiTSR has no such back end" in printed.out
    assert record["skipped"] == [{"subject": "hit_sir/sdpa", "reason": "HiTSR has no such back end"}]


def test_a_checkpoint_is_measured_under_its_files_name(tmp_path, capsys):
    from srlab import create_model
    from srlab.checkpoints import save_official

    path = tmp_path / "mine.pt"
    save_official(create_model("elan_light", scale=2), path)
    record = last_line(profile(capsys, "bicubic", str(path), *QUICK[1:], *NONE))
    assert [each["model"] for each in subjects_of(record)] == ["bicubic", "mine.pt"]
    assert record["settings"]["scale"] == 2
    error = profile(capsys, str(path), "bicubic", "--scale", "3", *QUICK[1:], status=2).err
    assert "one run measures one scale, x3 here, but mine.pt is x2" in error


@pytest.mark.parametrize("after", [0, 3, 5])
def test_ctrl_c_keeps_what_was_measured(after, tmp_path, monkeypatch, capsys):
    """Two subjects: before anything was timed, in the middle of the second round, and of the third."""
    calls = []

    def interrupted(_function, _device):
        calls.append(1)
        if len(calls) > after:
            raise KeyboardInterrupt
        return 5.0 * len(calls)

    monkeypatch.setattr(session, "time_ms", interrupted)
    path = tmp_path / "lab.json"
    words = ["elan_demo", "--size", "16x16", "--rounds", "9", "--warmup", "0", "--device", "cpu"]
    words += ["--backend", "reference,sdpa", "--record", str(path)]
    printed = profile(capsys, *words, status=130)
    assert printed.err.endswith("stopped\n")
    if not after:
        assert not path.exists()
        return
    record = last_line(printed)
    assert record == json.loads(path.read_text())
    assert record["complete"] is False
    assert "interrupted: only the finished rounds are reported" in record["notes"]
    first, second = subjects_of(record)
    assert first["rounds"] + second["rounds"] == after
    # rounds alternate in their order: 5 and 10 ms, then 20 and 15 (only the second's if interrupted)
    assert second["speedup"]["median"] == pytest.approx({3: 0.5, 5: (0.5 + 20 / 15) / 2}[after])


STEP = ("elan_demo", "--scale", "2", "--step", "training", "--batch", "2", "--patch", "16", *BRIEF)


def test_a_training_step_is_measured_beside_its_loader(monkeypatch, true_memory, capsys):
    def measure(data, *, workers, device):
        assert (data.patch_size, data.batch_size, data.scale) == (16, 2, 2)
        return {number: Spread(1e6 * (1 + number), 1, 2) for number in workers}

    monkeypatch.setattr(loader, "measure_loading", measure)
    words = ["--checkpointing", "false,true", "--data", "demo", "--workers", "0,2", *NONE]
    printed = profile(capsys, *STEP, *words)
    record = last_line(printed)
    plain, checkpointed = subjects_of(record)
    assert (plain["checkpointing"], checkpointed["checkpointing"]) == (False, True)
    assert checkpointed["memory"]["live_mib"] < plain["memory"]["live_mib"]
    assert plain["share_of_matrix_rate"] is None
    assert record["loading"]["2"] == {"median": 3e6, "p10": 1, "p90": 2}
    assert "loader 3,000,000 crops/s (2 workers), network" in printed.out
    assert "the network is the bottleneck" in printed.out


def test_a_folder_is_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SRLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(loader, "_BATCHES", 1)
    root = tmp_path / "images"
    root.mkdir()
    for name in "abc":
        Image.new("RGB", (40, 36)).save(root / f"{name}.png")
    record = last_line(profile(capsys, *STEP, "--data", "folder", "--root", str(root), *NONE))
    assert record["loading"]["0"]["median"] > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "div2k", "--root", "nowhere"], "800 of the DIV2K images 0001 to 0800 are in none of"),
        (["--data", "benchmark", "--root", "nowhere"], "these data have no training images"),
        (["--record", f"{__file__}/x/lab.json"], "x/lab.json cannot be written: "),
    ],
)
def test_what_will_fail_fails_before_anything_is_measured(words, message, monkeypatch, capsys):
    monkeypatch.setattr(running, "run_lab", lambda *_, **__: pytest.fail("measured"))
    words = [*STEP, *words] if "--record" in words else [*STEP, *words, *NONE]
    error = profile(capsys, *words, status=2).err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("fault", "status", "note"),
    [
        (RuntimeError("worker 1 was\nkilled"), 0,
         "the loader could not be measured: RuntimeError: worker 1 was killed"),
        (KeyboardInterrupt(), 130, "interrupted: no loader"),
    ],
)  # fmt: skip
def test_a_loader_that_fails_costs_no_measurement(fault, status, note, tmp_path, monkeypatch, capsys):
    def fails(*_arguments, **_settings):
        raise fault

    monkeypatch.setattr(loader, "measure_loading", fails)
    path = tmp_path / "lab.json"
    printed = profile(capsys, *STEP, "--data", "demo", "--record", str(path), status=status)
    record = last_line(printed)
    assert record == json.loads(path.read_text())
    assert (record["loading"], record["complete"]) == (None, not status)
    assert subjects_of(record)[0]["rounds"] == 1
    assert note in record["notes"]
    assert note in printed.out


@pytest.mark.parametrize(
    ("writes", "shows", "status", "error"),
    [(False, True, 2, "error: no space left\n"), (True, False, 2, "error: cannot be printed\n")],
)
def test_neither_a_full_disk_nor_a_lost_terminal_costs_the_record(
    writes, shows, status, error, tmp_path, monkeypatch, capsys
):
    def fails(fault):
        def fail(*_arguments):
            raise OSError(fault)

        return fail

    path = tmp_path / "lab.json"
    if not writes:
        monkeypatch.setattr("srlab.runs.records.write_json", fails("no space left"))
    if not shows:
        monkeypatch.setattr(profile_verb, "_show", fails("cannot be printed"))
    printed = profile(capsys, "bicubic", *QUICK[1:], "--record", str(path), status=status)
    assert printed.err == error
    record = last_line(printed) if shows else json.loads(path.read_text())
    assert record["complete"] is True


def test_records_become_markdown(tmp_path, capsys):
    path = tmp_path / "lab.json"
    record = last_line(profile(capsys, *QUICK, "--backend", "reference,sdpa", "--record", str(path)))
    printed = profile(capsys, "--table", str(path)).out
    lines = printed.splitlines()
    assert lines[0].startswith("**x4, 16x16 to 64x64, batch 1, inference**: float32, eager, ")
    tables = [line for line in lines if line.startswith("|")]
    assert len(tables) == 2 + 2
    assert {line.count("|") for line in tables} == {tables[0].count("|")}
    assert record["conditions"]["command"] in printed


@pytest.mark.parametrize("name", ["speed-x4-128x128-epyc-2cores", "step-x2-epyc-2cores"])
def test_records_of_earlier_versions_are_printed(name, capsys):
    """Oracle: the tables of docs/speed.md."""
    root = Path(__file__).parents[3] / "docs"
    table = profile(capsys, "--table", str(root / "results" / f"{name}.json")).out.splitlines()
    rows = [line for line in table if line.startswith("| elan_light")]
    assert rows
    assert set(rows) <= set((root / "speed.md").read_text().splitlines())


def test_tables_cut_no_figure(capsys):
    record = last_line(profile(capsys, *QUICK, "--backend", "reference,auto", *NONE))
    for width in (80, 160):
        console = Console(width=width)
        with console.capture() as captured:
            console.print(size_table(record, record["sizes"][0], width=width))
        text = captured.get()
        assert "…" not in text
        assert max(map(len, text.splitlines())) <= width
        assert ("MP/s" in text) == (width > 110)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "name at least one model"),
        ("elam", "unknown model elam: no such file or run; presets are "),
        ("elan_demo elan_demo", "two models are called elan_demo"),
        ("elan_demo --set n_shar=0", "unknown: n_shar"),
        ("elan_demo --backend foo", "no chosen network has back end foo: elan_demo has"),
        ("elan_demo --output 40x20,39x19", "two of the sizes are the same"),
        ("elan_demo --compile reduce-overhead", "replays CUDA graphs, which cpu does not have"),
        ("elan_demo --device gpu", "device=gpu: choose cpu, cuda, cuda:1 or auto"),
        ("elan_demo --device mps", "device=mps: choose cpu, cuda, cuda:1 or auto"),
        ("elan_demo --patch 64", "--patch needs --step training"),
        ("elan_demo --data demo --workers 2", "--data, --workers need --step training"),
        ("elan_demo --step training --size 8x8 --mask cached", "--size, --mask need --step inference"),
        ("elan_demo --step training --workers 2", "--root and --workers need --data NAME"),
        ("elan_demo --baseline esc", "--baseline esc is none of the subjects: elan_demo/auto"),
        ("elan_demo --record .", "--record . is a folder"),
        ("--table absent.json", "absent.json"),
        ("esc --table absent.json", "name no models"),
    ],
)
def test_what_it_cannot_do_is_one_line(words, message, capsys):
    device = [] if "--device" in words or "--table" in words else ["--device", "cpu"]
    error = profile(capsys, *words.split(), *device, status=2).err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_gpu_that_is_not_there_is_named(capsys):
    error = profile(capsys, "elan_demo", "--device", "cuda", status=2).err
    assert "device=cuda: this machine offers torch no CUDA device" in error


def test_a_file_that_is_no_record_is_refused(tmp_path, capsys):
    for name, text in (("a.json", "{"), ("b.json", "{}")):
        (tmp_path / name).write_text(text)
    assert "is not JSON" in profile(capsys, "--table", str(tmp_path / "a.json"), status=2).err
    assert (
        "not a record of srlab profile" in profile(capsys, "--table", str(tmp_path / "b.json"), status=2).err
    )
