"""The bars are checked on the figures that a record has, and what was not measured does not hold."""

import json
import sys
from dataclasses import asdict

import pytest
from benchmarks import bars
from benchmarks.bars import check_records, missing, why_ignored

from srlab.extensions.lab.latency import Spread
from srlab.extensions.lab.measurement import Memory
from srlab.extensions.lab.record import KIND, Figures, LabSettings


def figures(
    backend,
    dtype,
    compiled,
    milliseconds,
    mebibytes,
    *,
    checkpointing=False,
    model="elan_light",
    speedup=None,
):
    spread = Spread(milliseconds, 0.9 * milliseconds, 1.1 * milliseconds)
    known = {
        "label": f"{model}/{backend}/{dtype}/{compiled}/{checkpointing}",
        "model": model,
        "backend": "auto" if backend == "fused" else backend,
        "resolved_backend": backend,
        "dtype": dtype,
        "compile": compiled,
        "mask": "cached",
        "checkpointing": checkpointing,
        "time_ms": spread,
        "speedup": speedup and Spread(speedup, speedup, speedup),
        "memory": Memory(allocated_mib=mebibytes),
    }
    unknown = dict.fromkeys(set(Figures.__dataclass_fields__) - set(known))
    return asdict(Figures(**known, **unknown))


def record(
    *subjects, step="inference", scale=4, day=1, complete=True, device="cuda", size=(180, 320), failed=()
):
    settings = LabSettings(
        step=step,
        scale=scale,
        batch=1,
        warmup=1,
        repeats=1,
        baseline=subjects[0]["label"] if subjects else "",
    )
    return {
        "kind": KIND,
        "complete": complete,
        "conditions": {
            "date": f"2026-01-{day:02d}T12:00:00+00:00",
            "device": device,
            "device_name": "GPU",
            "threads": 2,
        },
        "settings": asdict(settings),
        "sizes": [
            {
                "lr_size": list(size),
                "subjects": list(subjects),
                "failed": [{"subject": label, "reason": "it did"} for label in failed],
            }
        ],
    }


REFERENCE = figures("reference", "float32", "eager", 100.0, 1000.0)
GOOD = (
    REFERENCE,
    figures("reference", "bfloat16", "eager", 45.0, 600.0),
    figures("fused", "float32", "eager", 33.0, 400.0),
    figures("fused", "bfloat16", "eager", 14.0, 200.0),
    figures("fused", "bfloat16", "graph", 12.0, 5.0),
)


def failures(*subjects, **settings):
    return {
        check.claim: check.measured
        for check in check_records([record(*subjects, **settings)])
        if not check.holds
    }


def test_figures_that_reach_every_bar_pass():
    checks = {check.claim: check.measured for check in check_records([record(*GOOD)])}
    assert checks == pytest.approx(
        {
            "speed over float32 reference >= 8": 100 / 12,
            "speed at equal precision, float32 >= 3": 100 / 33,
            "speed at equal precision, bfloat16 >= 3": 45 / 12,
            "memory in 16 bit over float32 reference <= 0.25": 0.2,
            "memory at equal precision, float32 <= 0.5": 0.4,
        }
    )
    assert not failures(*GOOD)


@pytest.mark.parametrize(
    ("changed", "claim"),
    [
        (figures("fused", "bfloat16", "eager", 13.0, 200.0), "speed over float32 reference >= 8"),
        (
            figures("fused", "bfloat16", "eager", 12.0, 260.0),
            "memory in 16 bit over float32 reference <= 0.25",
        ),
    ],
)
def test_a_bar_that_is_missed_fails_alone(changed, claim):
    assert list(failures(*GOOD[:3], changed)) == [claim]


def test_memory_of_a_graph_does_not_count():
    """What a graph computes lies in a pool, of which an allocator's peak says nothing."""
    only_graph = failures(*GOOD[:3], GOOD[4])
    assert only_graph == {"memory in 16 bit over float32 reference <= 0.25": None}


def test_without_the_reference_nothing_holds():
    other = figures("reference", "float32", "eager", 100.0, 1000.0, model="esc")
    assert set(failures(other, *GOOD[2:]).values()) == {None}
    assert len(failures(other, *GOOD[2:])) == 5
    assert why_ignored(record(*GOOD[2:])) == "it has no reference"


def test_a_dtype_that_only_the_reference_has_is_missed():
    missed = failures(REFERENCE, GOOD[1], GOOD[2])
    assert missed["speed at equal precision, bfloat16 >= 3"] is None


STEP = figures("reference", "float32", "eager", 300.0, 9000.0)


def test_a_training_setting_must_be_fast_and_small_at_once():
    fast = figures("fused", "bfloat16", "eager", 60.0, 4000.0)
    small = figures("fused", "bfloat16", "eager", 200.0, 1000.0, checkpointing=True)
    both = figures("fused", "bfloat16", "default", 90.0, 2000.0, checkpointing=True)
    (missed,) = failures(STEP, fast, small, step="training", scale=2).items()
    assert missed == ("speed of a step >= 3", pytest.approx(1.5))
    assert not failures(STEP, fast, small, both, step="training", scale=2)
    (missed,) = failures(STEP, fast, step="training", scale=2).items()
    assert missed == ("memory of a step <= 0.333", pytest.approx(4 / 9))


def test_other_networks_and_back_ends_have_no_bars():
    assert not check_records([record(REFERENCE, figures("sdpa", "float32", "eager", 1.0, 1.0))])
    assert not check_records(
        [record(REFERENCE, figures("fused", "float32", "eager", 1.0, 1.0, model="swinir_light"))]
    )


def step(milliseconds, mebibytes, compiled="eager", **settings):
    return record(
        STEP, figures("fused", "bfloat16", compiled, milliseconds, mebibytes), step="training", **settings
    )


def measured(*records):
    return [check.measured for check in check_records(records)]


def test_of_repeated_runs_the_newest_counts_in_whatever_order_they_come():
    good, bad = step(60.0, 1000.0, day=1), step(200.0, 4000.0, day=2)
    assert measured(good, bad) == measured(bad, good) == pytest.approx([1.5, 4 / 9])


def test_an_interrupted_run_does_not_count():
    good, bad = step(60.0, 1000.0, day=1), step(200.0, 4000.0, day=2, complete=False)
    assert why_ignored(bad) == "it is not complete"
    assert measured(good, bad) == pytest.approx([5, 1 / 9])


def test_a_setting_that_the_newest_run_lacks_still_counts_unless_it_failed_there():
    small, compiled = step(60.0, 1000.0, day=1), step(50.0, 4000.0, compiled="default", day=2)
    assert measured(small, compiled) == pytest.approx([5, 1 / 9])
    label = small["sizes"][0]["subjects"][1]["label"]
    compiled = step(50.0, 4000.0, compiled="default", day=2, failed=[label])
    assert measured(small, compiled) == pytest.approx([6, 4 / 9])


def test_fast_in_one_run_and_small_in_another_is_not_both_at_once():
    fast, small = step(60.0, 4000.0), step(200.0, 1000.0, compiled="default", day=2)
    assert [check.holds for check in check_records([fast, small])] == [False, True]


def test_the_labs_rounds_come_before_medians_where_the_baseline_is_the_reference():
    fused = figures("fused", "float32", "eager", 25.0, 100.0, speedup=5.0)
    (by_rounds, by_medians) = (
        next(check for check in check_records([record(*subjects)]) if "float32 >=" in check.claim)
        for subjects in ((REFERENCE, fused), (GOOD[1], REFERENCE, fused))
    )
    assert (by_rounds.measured, by_medians.measured) == (5.0, 4.0)
    assert by_rounds.figures.endswith("25 and 100 ms, median over rounds")
    assert by_medians.figures.endswith("25 and 100 ms, ratio of medians")


def of(model, backend, milliseconds, mebibytes=100.0):
    return figures(backend, "float32", "eager", milliseconds, mebibytes, model=model)


ON_CPU = (
    of("elan_light", "reference", 90.0, 300.0),
    of("elan_light", "fused", 20.0, 90.0),
    of("swinir_light", "reference", 100.0),
    of("swinir_light", "sdpa", 90.0),
    of("swinir_light", "fused", 50.0),
    of("esc", "reference", 100.0),
    of("esc", "sdpa", 40.0),
    of("hit_srf", "reference", 80.0),
    of("hit_srf", "linear", 50.0),
)


def test_bars_on_a_cpu():
    checks = check_records([record(*ON_CPU, device="cpu")])
    assert {check.where for check in checks} == {"CPU, 2 threads, inference x4, LR 320x180, batch 1"}
    assert {check.claim: check.measured for check in checks} == pytest.approx(
        {
            "elan_light over its reference >= 3": 4.5,
            "swinir_light, fastest back end over its reference >= 1.5": 2.0,
            "esc, fastest back end over its reference >= 1.5": 2.5,
            "hit_srf, fastest back end over its reference >= 1.5": 1.6,
            "elan_light over swinir_light's reference >= 4.5": 5.0,
            "elan_light, live memory over its reference's <= 0.333": 0.3,
        }
    )
    assert all(check.holds for check in checks)


@pytest.mark.parametrize(
    ("at", "changed", "claims"),
    [
        (1, of("elan_light", "fused", 25.0, 101.0), ("over swinir_light's reference", "live memory")),
        (0, of("elan_light", "reference", 50.0, 300.0), ("elan_light over its reference",)),
        (4, of("swinir_light", "fused", 70.0), ("swinir_light, fastest",)),
        (6, of("esc", "sdpa", 70.0), ("esc, fastest",)),
        (8, of("hit_srf", "linear", 60.0), ("hit_srf, fastest",)),
    ],
)
def test_a_bar_on_a_cpu_that_is_missed_fails_alone(at, changed, claims):
    missed = list(failures(*ON_CPU[:at], changed, *ON_CPU[at + 1 :], device="cpu"))
    assert len(missed) == len(claims)
    assert all(part in claim for part, claim in zip(claims, missed, strict=True))


def test_networks_that_a_record_of_a_cpu_lacks_are_missed():
    assert len(failures(*ON_CPU[:2], device="cpu")) == 4
    assert why_ignored(record(*ON_CPU, device="cpu", scale=2)) == "bars on a CPU are about inference x4"


def test_what_was_not_measured_is_named():
    assert missing([record(*GOOD), record(*GOOD, scale=2)]) == ["no record of elan_light fused: training x2"]
    sizes = [record(*ON_CPU, device="cpu", size=size) for size in ((180, 320), (128, 128))]
    assert missing(sizes) == []
    assert missing(sizes[:1]) == ["no record of elan_light fused: CPU, 2 threads, inference x4, LR 128x128"]
    assert len(missing([*sizes, record(*GOOD)])) == 2


def test_what_is_printed(tmp_path, monkeypatch, capsys):
    records = [record(*ON_CPU, device="cpu", size=size) for size in ((180, 320), (128, 128))]
    paths = [tmp_path / f"{number}.json" for number in range(3)]
    for path, content in zip(paths, [*records, {**records[0], "complete": False}], strict=True):
        path.write_text(json.dumps(content))
    monkeypatch.setattr(sys, "argv", ["bars.py", *map(str, paths)])
    assert bars.main() == 0
    first, *lines, last = capsys.readouterr().out.splitlines()
    assert first == f"ignored  {paths[2]}: it is not complete"
    assert len(lines) == 2 * 6
    assert all(line.startswith("pass  CPU, 2 threads") for line in lines)
    assert ("20 and 90 ms" in lines[0], "90 and 300 MiB" in lines[5]) == (True, True)
    assert json.loads(last)["ignored"] == {str(paths[2]): "it is not complete"}
    monkeypatch.setattr(sys, "argv", ["bars.py", str(paths[2])])
    assert bars.main() == 1
