import os
import subprocess
import sys

import pytest

_ASK = "import os; print(os.environ.get('GOMP_SPINCOUNT'), os.environ.get('OMP_WAIT_POLICY'))"


def spin_after(program: str, **environment: str) -> list[str]:
    undecided = {
        name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    }
    answer = subprocess.run(
        [sys.executable, "-c", f"{program}; {_ASK}"],
        env={**undecided, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return answer.stdout.split()


def test_importing_srlab_shortens_the_spin_of_idle_threads():
    assert spin_after("import srlab") == ["10000", "None"]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"GOMP_SPINCOUNT": "7"}, ["7", "None"]),
        ({"OMP_WAIT_POLICY": "active"}, ["None", "active"]),
        ({"SRLAB_THREADS_SPIN": "keep"}, ["None", "None"]),
    ],
)
def test_whoever_has_decided_is_left_alone(environment, expected):
    assert spin_after("import srlab", **environment) == expected


def test_nothing_is_set_where_torch_is_loaded_already():
    assert spin_after("import torch, srlab") == ["None", "None"]
