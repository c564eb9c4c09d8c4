"""srlab profile: what it measures, prints and records, and what it refuses."""

import json
from dataclasses import dataclass

import pytest
import torch
from PIL import Image
from rich.console import Console

from srlab.extensions.console.main import main
from srlab.extensions.lab import ceilings, data_loading, measurement, running
from srlab.extensions.lab import record as lab_record
from srlab.extensions.lab.latency import Spread
from srlab.extensions.lab.measurement import Memory
from srlab.extensions.lab.tables import roofline_table, size_table

QUICK = ("model=elan_demo", "device=cpu", "size=16x16", "repeats=1", "warmup=0", "threads=1")


@pytest.fixture
def true_memory():
    """Memory is really measured; elsewhere it does not matter, and takes most of the time."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch, request):
    """Rates of small arrays are found at once; what they are does not matter here."""
    if "true_memory" not in request.fixturenames:
        monkeypatch.setattr(measurement, "_cpu_memory", lambda run, _device: Memory(live_mib=1.0))
    monkeypatch.setattr(ceilings, "_LEAST_COPY_BYTES", {"cpu": 2**20})
    monkeypatch.setattr(ceilings, "_last_level_cache_bytes", lambda: 0)
    monkeypatch.setattr(ceilings, "_LONG_ENOUGH_MS", {"cpu": 0.0})


def profile(capsys, *words, status=0):
    assert main(["profile", *words]) == status
    return capsys.readouterr()


def last_line(printed):
    return json.loads(printed.out.splitlines()[-1])


def test_the_last_line_is_the_record(tmp_path, capsys):
    path = tmp_path / "records" / "lab.json"
    words = [*QUICK, "backend=reference,sdpa", "dtype=float32,bfloat16", f"record={path}"]
    printed = profile(capsys, *words, "--roofline")
    record = last_line(printed)
    assert record == json.loads(path.read_text())
    assert f"wrote {path}" in printed.err
    (run,) = record["sizes"]
    assert [each["label"] for each in run["subjects"]] == [
        "elan_demo/reference/float32/eager", "elan_demo/reference/bfloat16/eager",
        "elan_demo/sdpa/float32/eager", "elan_demo/sdpa/bfloat16/eager",
    ]  # fmt: skip
    assert record["settings"]["baseline"] == "elan_demo/reference/float32/eager"
    assert record["conditions"]["command"] == " ".join(["srlab profile", *words, "--roofline"])
    assert [each["dtype"] for each in record["ceilings"]] == ["float32", "bfloat16"]
    assert [each["dtype"] for each in run["rooflines"]] == ["float32", "bfloat16"]


def test_figures_follow_from_time_count_and_ceiling(capsys):
    record = last_line(profile(capsys, *QUICK, "batch=2", "scale=2", "backend=reference", "record=none"))
    (run,), (ceiling,) = record["sizes"], record["ceilings"]
    (figures,) = run["subjects"]
    assert (run["lr_size"], run["output_size"], figures["padded_size"]) == ([16, 16], [32, 32], [16, 16])
    rate = 2 * 1000 / figures["time_ms"]["median"]
    assert figures["images_per_second"] == pytest.approx(rate)
    assert figures["megapixels_per_second"] == pytest.approx(rate * 32 * 32 / 1e6)
    assert figures["gflop_per_second"] == pytest.approx(2 * figures["multiply_adds"] * rate / 1e9)
    assert figures["share_of_matrix_rate"] == pytest.approx(
        figures["gflop_per_second"] / ceiling["matrix_gflop_per_s"]
    )
    assert figures["speedup"] == {"median": 1, "p10": 1, "p90": 1}


def test_a_record_lies_in_profiles_by_default_and_nowhere_if_so_wished(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    profile(capsys, *QUICK, "record=none")
    assert list(tmp_path.iterdir()) == []
    record = last_line(profile(capsys, *QUICK))
    (path,) = (tmp_path / "profiles").iterdir()
    assert json.loads(path.read_text()) == record


def test_output_is_width_times_height_and_sizes_follow_one_another(capsys):
    words = [word for word in QUICK if not word.startswith("size=")]
    record = last_line(profile(capsys, *words, "scale=2", "output=40x20,21x33", "record=none"))
    assert [run["lr_size"] for run in record["sizes"]] == [[10, 20], [17, 11]]


def test_networks_without_back_ends_give_one_row_and_what_lacks_one_is_noted(true_memory, capsys):
    words = ["model=bicubic,elan_demo,hit_sir", "backend=sdpa", *QUICK[1:], "record=none"]
    printed = profile(capsys, *words)
    record = last_line(printed)
    assert [each["model"] for each in record["sizes"][0]["subjects"]] == ["bicubic", "elan_demo"]
    assert "skipped hit_sir/sdpa: HiTSR has no such back end" in printed.out
    assert record["skipped"] == [{"subject": "hit_sir/sdpa", "reason": "HiTSR has no such back end"}]


def test_a_checkpoint_is_measured_under_its_files_name(tmp_path, capsys):
    from srlab import create_model
    from srlab.checkpoints import save_official

    path = tmp_path / "mine.pt"
    save_official(create_model("elan_light", scale=2), path)
    record = last_line(profile(capsys, f"model={path}", *QUICK[1:], "record=none"))
    assert record["sizes"][0]["subjects"][0]["model"] == "mine.pt"
    assert record["settings"]["scale"] == 2
    error = profile(capsys, f"model={path},bicubic", "scale=3", *QUICK[1:], status=2).err
    assert "one run measures one scale, x3 here, but" in error


@pytest.mark.parametrize("after", [0, 3, 5])
def test_ctrl_c_keeps_what_was_measured(after, tmp_path, monkeypatch, capsys):
    """Two subjects: before anything was timed, in the middle of the second round, and of the third."""
    calls = []

    def interrupted(_function, _device):
        calls.append(1)
        if len(calls) > after:
            raise KeyboardInterrupt
        return 5.0 * len(calls)

    monkeypatch.setattr(measurement, "time_ms", interrupted)
    path = tmp_path / "lab.json"
    words = [*QUICK[:3], "repeats=9", "warmup=0", "backend=reference,sdpa", f"record={path}"]
    printed = profile(capsys, *words, status=130)
    assert printed.err.endswith("stopped\n")
    if not after:
        assert not path.exists()
        return
    record = last_line(printed)
    assert record == json.loads(path.read_text())
    assert record["complete"] is False
    assert "interrupted: these are the rounds that were finished" in record["notes"]
    first, second = record["sizes"][0]["subjects"]
    assert first["rounds"] + second["rounds"] == after
    # rounds alternate in their order: 5 and 10 ms, then 20 and 15 (only the second's if interrupted)
    assert second["speedup"]["median"] == pytest.approx({3: 0.5, 5: (0.5 + 20 / 15) / 2}[after])


def test_a_training_step_is_measured_beside_its_loader(monkeypatch, true_memory, capsys):
    @dataclass(frozen=True)
    class Report:
        samples_per_s: dict

        def __str__(self):
            return "as it was"

    def measure(data, *, workers, batches, device):
        assert (data.patch_size, data.batch_size, data.scale) == (16, 2, 2)
        return Report({number: Spread(1e6 * (1 + number), 1, 2) for number in workers})

    monkeypatch.setattr(data_loading, "measure_loading", measure)
    words = ["model=elan_demo", "device=cpu", "scale=2", "repeats=1", "warmup=0", "record=none"]
    words += ["step=training", "batch=2", "patch=16", "checkpointing=false,true", "data=demo", "workers=0,2"]
    printed = profile(capsys, *words)
    record = last_line(printed)
    plain, checkpointed = record["sizes"][0]["subjects"]
    assert (plain["checkpointing"], checkpointed["checkpointing"]) == (False, True)
    assert checkpointed["memory"]["live_mib"] < plain["memory"]["live_mib"]
    assert plain["share_of_matrix_rate"] is None
    assert record["loading"]["samples_per_s"]["2"] == {"median": 3e6, "p10": 1, "p90": 2}
    assert "loader 3,000,000 crops/s (2 workers), network" in printed.out
    assert "the network is the bottleneck" in printed.out


STEP = (
    "model=elan_demo",
    "device=cpu",
    "scale=2",
    "repeats=1",
    "warmup=0",
    "step=training",
    "batch=1",
    "patch=8",
)


def test_a_folder_is_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SRLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(data_loading, "_BATCHES", 1)
    root = tmp_path / "images"
    root.mkdir()
    for name in "abc":
        Image.new("RGB", (24, 20)).save(root / f"{name}.png")
    record = last_line(profile(capsys, *STEP, "data=folder", f"root={root}", "record=none"))
    loaded = record["loading"]
    assert (loaded["patch_size"], loaded["batch_size"], loaded["scale"]) == (8, 1, 2)
    assert loaded["samples_per_s"]["0"]["median"] > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data=div2k", "root=nowhere"], "no DIV2K image 0001 to 0800"),
        (["data=benchmark", "root=nowhere"], "these data have no training images"),
        (["data=folder"], "data=folder needs root="),
        (["data=demo", "workers=1,1"], "workers must be distinct"),
        ([f"record={__file__}/x/lab.json"], "x/lab.json cannot be written: "),
    ],
)
def test_what_will_fail_fails_before_anything_is_measured(words, message, monkeypatch, capsys):
    monkeypatch.setattr(running, "run_lab", lambda lab: pytest.fail("measured"))
    words = [*STEP, *words] if "record=" in words[0] else [*STEP, *words, "record=none"]
    error = profile(capsys, *words, status=2).err
    assert message in error
    assert error.count("\n") == 1


def test_a_loader_that_fails_costs_no_measurement(tmp_path, monkeypatch, capsys):
    def fails(*_arguments, **_settings):
        raise RuntimeError("worker 1 was\nkilled")

    monkeypatch.setattr(data_loading, "measure_loading", fails)
    path = tmp_path / "lab.json"
    printed = profile(capsys, *STEP, "data=demo", f"record={path}")
    record = last_line(printed)
    assert record == json.loads(path.read_text())
    assert (record["loading"], record["complete"]) == (None, True)
    assert record["sizes"][0]["subjects"][0]["rounds"] == 1
    told = "the loader could not be measured: RuntimeError: worker 1 was killed"
    assert told in record["notes"]
    assert told in printed.out


def test_ctrl_c_in_the_loader_keeps_the_steps(monkeypatch, capsys):
    def stops(*_arguments, **_settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(data_loading, "measure_loading", stops)
    record = last_line(profile(capsys, *STEP, "data=demo", "record=none", status=130))
    assert (record["complete"], record["notes"][0]) == (False, "interrupted: no loader")
    assert record["sizes"][0]["subjects"][0]["rounds"] == 1


def test_a_record_that_cannot_be_written_is_printed_all_the_same(tmp_path, monkeypatch, capsys):
    def full(_record, _path):
        raise OSError("no space left")

    monkeypatch.setattr(lab_record, "write_record", full)
    printed = profile(capsys, *QUICK, f"record={tmp_path / 'lab.json'}", status=2)
    assert last_line(printed)["complete"] is True
    assert printed.err == "error: no space left\n"


def test_records_become_markdown(tmp_path, capsys):
    path = tmp_path / "lab.json"
    words = [*QUICK, "backend=reference,sdpa", f"record={path}", "--roofline"]
    record = last_line(profile(capsys, *words))
    printed = profile(capsys, "--table", str(path)).out
    lines = printed.splitlines()
    assert lines[0].startswith("**x4, 16x16 to 64x64, batch 1, inference**: float32, eager, ")
    tables = [line for line in lines if line.startswith("|")]
    assert len(tables) == 2 * (2 + 2)
    assert {line.count("|") for line in tables[:4]} == {tables[0].count("|")}
    assert record["conditions"]["command"] in printed


@pytest.mark.parametrize("width", [80, 160])
def test_tables_cut_no_figure(width, capsys):
    record = last_line(profile(capsys, *QUICK, "backend=reference,auto", "record=none", "--roofline"))
    (run,) = record["sizes"]
    console = Console(width=width)
    with console.capture() as captured:
        console.print(size_table(record, run, width=width))
        console.print(roofline_table(run, width=width))
    text = captured.get()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    assert ("MP/s" in text) == (width > 110)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "model= needs a value"),
        (["model=elam"], "unknown model elam: no file or run; presets are bicubic, "),
        (["model=elan_demo,elan_demo"], "two models are called elan_demo"),
        (["model=elan_demo", "backend=foo"], "no chosen network has back end foo: elan_demo has"),
        (["model=elan_demo", "dtype=int8"], "unknown dtype int8"),
        (["model=elan_demo", "size=0x10"], "size must be like 180x320 (height x width of the LR image)"),
        (["model=elan_demo", "size=4x4", "output=8x8"], "give size=HEIGHTxWIDTH of the LR image or output="),
        (["model=elan_demo", "size=4x4,4x4"], "two of the sizes are the same"),
        (["model=elan_demo", "output=1280"], "output must be like 1280x720 (width x height"),
        (["model=elan_demo", "compile=graph"], "device=cpu has none of; use compile=eager"),
        (["model=elan_demo", "device=gpu"], "device=gpu: choose cpu, cuda, cuda:1 or auto"),
        (["model=elan_demo", "device=mps"], "device=mps: choose cpu, cuda, cuda:1 or auto"),
        (["model=elan_demo", "repeats=0"], "repeats must be an integer of at least 1, got 0"),
        (["model=elan_demo", "threads=none"], "threads must be an integer of at least 1, got 'none'"),
        (["model=elan_demo", "matmul_precision=low"], "matmul_precision=low: choose one of highest, high"),
        (["model=elan_demo", "patch=64"], "patch belongs to step=training"),
        (["model=elan_demo", "data=demo"], "data belongs to step=training"),
        (["model=elan_demo", "step=training", "size=8x8", "mask=cached"], "size, mask belong to step="),
        (["model=elan_demo", "workers=2"], "root= and workers= belong to data=NAME"),
        (["model=elan_demo", "step=training", "data=foo"], "unknown data 'foo'; choose one of benchmark"),
        (["model=elan_demo", "step=training", "data=demo", "root=x"], "data=demo has no root= to set"),
        (["model=elan_demo", "baseline=esc"], "baseline=esc is none of the subjects: elan_demo/auto"),
        (["model=elan_demo", "record=."], "record=. is a folder"),
        (["modle=elan_demo"], "unknown modle; known: model, backend"),
        (["--table", "absent.json"], "absent.json"),
        (["--table", "absent.json", "model=esc"], "leave everything else out"),
    ],
)  # fmt: skip
def test_what_it_cannot_do_is_one_line(words, message, capsys):
    device = [] if any(word.startswith(("device=", "--table")) for word in words) else ["device=cpu"]
    error = profile(capsys, *words, *device, status=2).err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_gpu_that_is_not_there_is_named(capsys):
    error = profile(capsys, "model=elan_demo", "device=cuda", status=2).err
    assert "device=cuda: this machine offers torch no CUDA device" in error


def test_a_file_that_is_no_record_is_refused(tmp_path, capsys):
    for name, text in (("a.json", "{"), ("b.json", "{}")):
        (tmp_path / name).write_text(text)
    assert "is no JSON" in profile(capsys, "--table", str(tmp_path / "a.json"), status=2).err
    assert "no record of srlab profile" in profile(capsys, "--table", str(tmp_path / "b.json"), status=2).err


def test_if_everything_fails_the_reasons_are_told(monkeypatch, capsys):
    def fails(_run, _device):
        raise RuntimeError("not\nimplemented")

    monkeypatch.setattr(measurement, "_cpu_memory", fails)
    error = profile(capsys, *QUICK, status=2).err
    assert "every subject failed (elan_demo/auto/float32/eager: not implemented)" in error
