import re
import subprocess
from datetime import datetime, timezone

import pytest
import torch

import srlab
from srlab.runs.provenance import source_commit
from srlab.tasks.conditions import Conditions


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository in which srlab's package folder lies where its sources do."""
    package = tmp_path / "src" / "srlab"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "start")
    monkeypatch.setattr(srlab, "__file__", str(package / "__init__.py"))
    return package


@pytest.mark.usefixtures("checkout")
def test_commit_is_that_of_the_checkout():
    assert re.fullmatch(r"[0-9a-f]{40}", source_commit())


def test_changed_files_are_told(checkout):
    (checkout / "__init__.py").write_text("changed = True\n")
    assert source_commit().endswith("+changes")


def test_a_package_installed_inside_another_checkout_has_no_commit(checkout, monkeypatch):
    installed = checkout.parents[1] / "venv" / "site-packages" / "srlab"
    installed.mkdir(parents=True)
    monkeypatch.setattr(srlab, "__file__", str(installed / "__init__.py"))
    assert source_commit() is None


def test_no_checkout_has_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(srlab, "__file__", str(tmp_path / "__init__.py"))
    assert source_commit() is None


def test_conditions_add_date_and_versions():
    conditions = Conditions(model="elan", checkpoint="x.pt")
    age = datetime.now(timezone.utc) - datetime.fromisoformat(conditions.date)
    assert 0 <= age.total_seconds() < 60
    assert conditions.torch_version == torch.__version__
    assert (conditions.model, conditions.checkpoint, conditions.costs) == ("elan", "x.pt", None)
