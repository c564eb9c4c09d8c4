"""Notebooks run on the photographs that come with scikit-image, and are committed without outputs."""

import ast
import importlib
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from training_runs import write_photos

FOLDER = Path(__file__).parents[1] / "notebooks"
NAMES = sorted(path.name for path in FOLDER.glob("*.ipynb"))
PACKAGES = {"srlab", "torch", "numpy", "matplotlib"}
# Fewer steps and cells, small pictures: what the notebooks say of their figures is not tested.
SHORTER = {
    '"logger=csv",': '"logger=csv", "data=folder", "data.root=PICTURES/train", '
    '"data.validation_root=PICTURES/validation", "data.patch_size=16",',
    "repeats=3": "repeats=1",
    "max_steps=100": "max_steps=10",
    "STEPS = 100": "STEPS = 2",
    "max_steps=20": "max_steps=10",
    "n_share=0,1": "n_share=1",
}


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(FOLDER / name, as_version=4)


def imports(notebook: nbformat.NotebookNode) -> list[ast.Import | ast.ImportFrom]:
    """Imports in all code cells, without lines that only IPython understands."""
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    lines = [line for source in sources for line in source.splitlines() if not line.startswith(("%", "!"))]
    return [
        node
        for node in ast.walk(ast.parse("\n".join(lines)))
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]


def test_there_are_three():
    assert NAMES == [
        "01_quickstart.ipynb",
        "02_window_and_share_ablation.ipynb",
        "03_attention_at_work.ipynb",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_valid_and_carries_no_outputs(name: str):
    notebook = read(name)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@pytest.mark.parametrize("name", NAMES)
def test_the_imports_of_a_notebook_exist_and_are_of_few_packages(name: str):
    for node in imports(read(name)):
        modules = (
            [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        )
        for module in modules:
            assert module.partition(".")[0] in PACKAGES | sys.stdlib_module_names, module
            found = importlib.import_module(module)
            if isinstance(node, ast.ImportFrom):
                assert all(hasattr(found, alias.name) for alias in node.names), ast.unparse(node)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs(name: str, tmp_path: Path, monkeypatch):
    """With fewer steps and cells; the kernel and the trainings that it starts use this environment."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("SRLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SRLAB_SWEEP", raising=False)
    write_photos(tmp_path)
    notebook = read(name)
    for cell in notebook.cells:
        for steps, fewer in SHORTER.items():
            cell.source = cell.source.replace(steps, fewer.replace("PICTURES", str(tmp_path)))
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(FOLDER)}})
    client.execute()
    figures = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert len(figures) == {"01": 1, "02": 3, "03": 3}[name[:2]]
