"""docs/architecture.md names every file between a command and its first result; the core runs alone."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import srlab
from training_runs import ROOT, TINY_ELAN, write_photos

RECORDED = ROOT / "tests" / "runs" / "run_0_1_0"
TEXT = (ROOT / "docs" / "architecture.md").read_text()
LEAVES = ["ops", "layers", "models", "metrics", "losses", "data", "counts", "checkpoints", "terminal", "runs"]
LEAF_FILES = {
    "__init__.py",
    "extension_points.py",
    "atomic_files.py",
    "official_files.py",
    "locks.py",
    "thread_spin.py",
}
COSTS = ["latency.output_size=[32,32]", "latency.warmup=0", "latency.repeats=1"]


def is_leaf(path: str) -> bool:
    is_plugin = re.fullmatch(r"extensions/\w+/plugin\.py", path) is not None
    return is_plugin or path.partition("/")[0] in LEAVES or path in LEAF_FILES


def listed(heading: str) -> list[str]:
    section = TEXT.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `([\w/]+\.py)` \|", section, flags=re.MULTILINE)


def started(program: list[str], folder: Path, **environment: str) -> str:
    ended = subprocess.run(
        [sys.executable, *program],
        cwd=folder,
        env={**os.environ, "SRLAB_CACHE": str(folder / "cache"), **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("heading", "script", "words", "most"),
    [
        ("From train.py to the first optimizer step", "train.py", ["debug=quick", "logger=csv"], 15),
        (
            "From evaluate.py to the PSNR",
            "evaluate.py",
            [f"checkpoint={RECORDED}", "backend=sdpa", "data=images", "data.root=validation"],
            14,
        ),
    ],
    ids=["train", "evaluate"],
)
def test_the_walk_is_documented_and_short(heading, script, words, most, tmp_path):
    write_photos(tmp_path, training=1, validation=1)
    program = [str(ROOT / "tests" / "walk.py"), str(ROOT / script), *words, "hydra.run.dir=run"]
    said = started(program, tmp_path)
    walked = json.loads(re.findall(r"^walked (.*)$", said, flags=re.MULTILINE)[-1])
    files = {path for path in walked if not is_leaf(path)}
    assert files == set(listed(heading))
    assert len(files) <= most


def test_leaves_of_the_document_are_those_of_the_test():
    named = TEXT.partition("**Leaves**")[2].partition("\n\n")[0]
    assert set(LEAVES) | LEAF_FILES <= set(re.findall(r"`([\w./]+)`", named))


@pytest.mark.slow
def test_the_core_trains_and_scores_without_extensions(tmp_path):
    """The package without that folder: absent columns are named, and sweeps are refused with a reason."""
    package = tmp_path / "core" / "srlab"
    shutil.copytree(
        Path(srlab.__file__).parent, package, ignore=shutil.ignore_patterns("extensions", "__pycache__")
    )
    shutil.copytree(ROOT / "conf", package / "conf")
    for name in ("train.py", "evaluate.py"):
        shutil.copy(ROOT / name, tmp_path)
    write_photos(tmp_path, training=2, validation=1)
    path = {"PYTHONPATH": str(package.parent)}
    words = [*TINY_ELAN, "scale=2", "logger=csv", "model.backend=sdpa", "debug=quick", "hydra.run.dir=run"]
    data = ["data=folder", "data.root=train", "data.validation_root=validation", "data.patch_size=8"]
    said = started(["train.py", *words, *data], tmp_path, **path)
    assert "without columns for latency, memory, published scores" in said
    assert (tmp_path / "run" / "summary.json").exists()
    words = ["checkpoint=run", "data=images", "data.root=validation", "hydra.run.dir=scores"]
    said = started(["evaluate.py", *words], tmp_path, **path)
    assert "without columns for latency, memory, published scores" in said
    assert (tmp_path / "scores" / "evaluation.json").exists()
    refused = subprocess.run(
        [sys.executable, "train.py", "-m", "seed=0,1"], cwd=tmp_path, env={**os.environ, **path},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert refused.returncode == 2
    assert "srlab.extensions.sweep is not installed" in refused.stderr
