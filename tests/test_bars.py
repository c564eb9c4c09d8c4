"""The bars are checked on the figures that a record has, and what was not measured does not hold."""

from dataclasses import asdict

import pytest
from benchmarks.bars import best_of, check_record, missing

from srlab.profiling.lab.measurement import Memory
from srlab.profiling.lab.record import Figures, LabSettings
from srlab.profiling.latency import Spread


def figures(backend, dtype, compiled, milliseconds, mebibytes, *, checkpointing=False, model="elan_light"):
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
        "memory": Memory(allocated_mib=mebibytes),
    }
    unknown = dict.fromkeys(set(Figures.__dataclass_fields__) - set(known))
    return asdict(Figures(**known, **unknown))


def record(*subjects, step="inference", scale=4):
    settings = LabSettings(
        step=step,
        scale=scale,
        batch=1,
        warmup=1,
        repeats=1,
        baseline=subjects[0]["label"] if subjects else "",
    )
    return {"settings": asdict(settings), "sizes": [{"lr_size": [180, 320], "subjects": list(subjects)}]}


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
        for check in check_record(record(*subjects, **settings))
        if not check.holds
    }


def test_figures_that_reach_every_bar_pass():
    checks = {check.claim: check.measured for check in check_record(record(*GOOD))}
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
    assert set(failures(*GOOD[2:]).values()) == {None}
    assert len(failures(*GOOD[2:])) == 5


STEP = figures("reference", "float32", "eager", 300.0, 9000.0)


def test_a_training_setting_must_be_fast_and_small_at_once():
    fast = figures("fused", "bfloat16", "eager", 60.0, 4000.0)
    small = figures("fused", "bfloat16", "eager", 200.0, 1000.0, checkpointing=True)
    both = figures("fused", "bfloat16", "eager", 90.0, 2000.0, checkpointing=True)
    (missed,) = failures(STEP, fast, small, step="training", scale=2).items()
    assert missed == (f"speed of a step ({small['label']}) >= 3", pytest.approx(1.5))
    assert not failures(STEP, fast, small, both, step="training", scale=2)
    (missed,) = failures(STEP, fast, step="training", scale=2).items()
    assert missed == (f"memory of a step ({fast['label']}) <= 0.333", pytest.approx(4 / 9))


def test_other_networks_and_back_ends_have_no_bars():
    assert not list(check_record(record(REFERENCE, figures("sdpa", "float32", "eager", 1.0, 1.0))))
    assert not list(
        check_record(record(figures("fused", "float32", "eager", 1.0, 1.0, model="swinir_light")))
    )


def test_of_two_records_about_the_same_the_better_one_counts_as_a_whole():
    """Fast in one run and small in another is not both at once."""
    fast = record(STEP, figures("fused", "bfloat16", "eager", 60.0, 4000.0), step="training")
    small = record(STEP, figures("fused", "bfloat16", "eager", 200.0, 1000.0), step="training")
    both = record(STEP, figures("fused", "bfloat16", "default", 60.0, 1000.0), step="training")
    assert [check.holds for check in best_of([fast, small])].count(False) == 1
    assert all(check.holds for check in best_of([fast, small, both]))


def test_what_was_not_measured_is_named():
    assert missing([record(*GOOD), record(*GOOD, scale=2)]) == ["no record of elan_light fused: training x2"]
