"""What is missing is named with its extra, and every extra that a message names exists."""

import re
import sys
from pathlib import Path

import pytest

import srlab
from srlab.extensions.optional_packages import import_optional, require_packages


def test_an_installed_module_is_imported():
    assert import_optional("json.decoder", purpose="it", extra="any") is sys.modules["json.decoder"]


def test_what_an_installed_package_misses_is_named_not_the_package(tmp_path, monkeypatch):
    (tmp_path / "srlab_probe.py").write_text("import srlab_probe_needs_this\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueError, match=r"^it needs srlab_probe_needs_this, which is not installed: pip"):
        import_optional("srlab_probe", purpose="it", extra="any")


def test_other_errors_of_a_package_stay_as_they_are(tmp_path, monkeypatch):
    (tmp_path / "srlab_faulty.py").write_text("raise RuntimeError('no such driver')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(RuntimeError, match="no such driver"):
        import_optional("srlab_faulty", purpose="it", extra="any")


def test_missing_packages_are_listed_without_the_others():
    message = r'^it needs no_such_a and no_such_b, which are not installed: pip install -e "\.\[some\]"$'
    with pytest.raises(ValueError, match=message):
        require_packages(["json", "no_such_a", "no_such_b"], purpose="it", extra="some")


def test_every_extra_that_is_named_exists():
    sources = [path.read_text() for path in Path(srlab.__file__).parent.rglob("*.py")]
    named = {extra for text in sources for extra in re.findall(r'extra="(\w+)"|"\.\[(\w+)\]"', text)}
    named = {extra for pair in named for extra in pair if extra}
    assert {"app", "video", "hub", "export"} <= named
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    extras = project.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    assert named <= set(re.findall(r"^(\w+) = \[", extras, flags=re.M))
