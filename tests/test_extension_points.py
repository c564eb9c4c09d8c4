"""Registries that extensions fill."""

import subprocess
import sys
from pathlib import Path

import pytest

import srlab
from srlab.extension_points import Registry


def test_a_name_is_taken_once():
    registry = Registry[object]("thing")
    first = registry.register("a", object())
    assert registry.register("a", first) is first
    with pytest.raises(ValueError, match="thing 'a' is registered already"):
        registry.register("a", object())


def test_what_nobody_registered_is_none():
    assert Registry[int]("number").get("seven") is None


def test_a_plugin_is_found_by_its_file(tmp_path):
    """A copy of the two modules, with one extension that is nothing but a new folder."""
    package = tmp_path / "srlab"
    extension = package / "extensions" / "mine"
    extension.mkdir(parents=True)
    for init in (package, extension.parent, extension):
        (init / "__init__.py").write_text("")
    source = Path(srlab.__file__).parent / "extension_points.py"
    (package / "extension_points.py").write_text(source.read_text())
    (package / "core.py").write_text(
        "from srlab.extension_points import Registry\nNUMBERS = Registry[int]('number')\n"
    )
    (extension / "plugin.py").write_text("from srlab.core import NUMBERS\nNUMBERS.register('seven', 7)\n")
    program = (
        "from srlab.core import NUMBERS\nfrom srlab.extension_points import load_extensions\n"
        "print(NUMBERS.get('seven'), list(NUMBERS), load_extensions())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == "7 [7] ('mine',)"


def test_plugins_import_nothing_slow():
    """Every command loads them, a misspelt one as well."""
    program = (
        "import sys\nfrom srlab.extension_points import load_extensions\nload_extensions()\n"
        "print([name for name in ('torch', 'lightning', 'matplotlib', 'wandb') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
