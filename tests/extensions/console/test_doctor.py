"""srlab doctor: what a bug report needs."""

import pytest

from srlab.extensions.console import doctor
from srlab.extensions.console.main import main


def test_it_prints_versions_machine_folders_and_probed_back_ends(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(doctor, "_PROBES", {"elan_demo": {}})
    monkeypatch.setenv("SRLAB_DATA", str(tmp_path / "absent"))
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert main(["doctor"]) == 0
    facts = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert {
        "srlab_version",
        "commit",
        "python",
        "torch_version",
        "lightning",
        "processor",
        "cores",
        "subnormals",
        "extensions",
    } <= facts.keys()
    assert facts["data (SRLAB_DATA)"].startswith(str(tmp_path / "absent"))
    assert facts["data (SRLAB_DATA)"].endswith("GiB free, does not exist")
    assert facts["C++ compiler"].startswith("no-such-compiler not found")
    assert facts["elan_demo backend=sdpa on cpu"].startswith("works, differs from reference by at most")


def test_a_back_end_that_fails_is_a_finding(monkeypatch, capsys):
    from srlab.models.network import AttentionNetwork

    def use(network, name):
        if name == "sdpa":
            raise RuntimeError("not\nhere")

    monkeypatch.setattr(doctor, "_PROBES", {"elan_demo": {}})
    monkeypatch.setattr(AttentionNetwork, "use_backend", use)
    assert main(["doctor"]) == 0
    assert "elan_demo backend=sdpa on cpu: fails: RuntimeError: not here" in capsys.readouterr().out


@pytest.mark.slow  # compiles flex attention
def test_the_probes_cover_every_back_end_and_all_work(capsys):
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert "fails:" not in printed
    assert all(f"backend={name} on" in printed for name in ("reference", "sdpa", "flex", "fused", "linear"))
