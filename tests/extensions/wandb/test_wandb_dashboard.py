"""srlab dashboard: what it lays out, and that a server gets it."""

import json
import re
import sys

import pytest

from srlab.extensions.console.main import main
from srlab.extensions.wandb.dashboard import Dashboard, specification
from wandb_log import shown_keys
from wandb_server import wandb_server

pytest.importorskip("wandb_workspaces", reason="needs the extra dashboard")


def panels(spec, section):
    sections = spec["section"]["panelBankConfig"]["sections"]
    return next(each["panels"] for each in sections if each["name"] == section)


def test_psnr_is_shown_against_every_cost():
    shown = panels(specification(Dashboard("lab", output_size="64x64")), "PSNR against cost")
    assert {panel["config"]["yAxis"] for panel in shown} == {"summary:best/val/psnr"}
    assert [panel["config"]["xAxis"] for panel in shown] == [
        "summary:latency_ms/64x64",
        "summary:multiply_adds/720x1280",
        "summary:params/all",
        "summary:peak_memory_mib/64x64",
    ]


def test_curves_are_drawn_over_steps_and_every_optimizer_rate_is_among_them():
    shown = [panel["config"] for panel in panels(specification(Dashboard("lab")), "curves")]
    assert {config["xAxis"] for config in shown} == {"trainer/global_step"}
    assert [config["metrics"] for config in shown[:3]] == [["val/psnr"], ["val/ssim"], ["train/loss"]]
    assert re.fullmatch(shown[3]["metricRegex"], "lr-AdamW")


def test_runs_are_grouped_by_sweep_and_the_best_comes_first():
    (runs,) = specification(Dashboard("lab"))["section"]["runSets"]
    assert runs["grouping"] == [{"section": "run", "name": "group"}]
    assert runs["sort"]["keys"] == [
        {"key": {"section": "summary", "name": "best/val/psnr"}, "ascending": False}
    ]


def test_every_set_that_it_names_is_in_the_layout():
    shown = shown_keys(specification(Dashboard("lab", sets=("Set5", "B100"))))
    assert {"best/val/psnr", "best/val/Set5/psnr", "best/val/B100/psnr", "best/gain"} <= shown


def test_it_is_printed_without_key_or_network(fresh_wandb, capsys):
    fresh_wandb.setattr("socket.socket.connect", lambda *_: pytest.fail("it asks the network"))
    assert main(["dashboard", "--project", "lab", "--sets", "Set5,B100", "--dry-run"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [panel["viewType"] for panel in panels(printed, "scores")] == ["Bar Chart"] * 4


def test_saving_hands_the_layout_to_the_server(fresh_wandb, capsys):
    fresh_wandb.setenv("WANDB_API_KEY", "0" * 40)
    with wandb_server() as received:
        fresh_wandb.setenv("WANDB_BASE_URL", "http://replaced.invalid")
        assert main(["dashboard", "--project", "lab", "--url", received.url]) == 0
    (view,) = received.named("upsertView")
    assert (view["entityName"], view["projectName"], view["type"]) == ("lab", "lab", "project-view")
    assert panels(json.loads(view["spec"]), "images")[0]["config"]["mediaKeys"] == ["comparison"]
    assert "/lab/lab" in capsys.readouterr().out


def test_a_second_call_brings_the_view_up_to_date(fresh_wandb):
    """Each call of W&B's package alone makes a view of its own."""
    fresh_wandb.setenv("WANDB_API_KEY", "0" * 40)
    with wandb_server() as received:
        for size in ("720x1280", "64x64"):
            assert main(["dashboard", "--project", "lab", "--url", received.url, "--output-size", size]) == 0
    (kept,) = received.views
    first, second = received.named("upsertView")
    assert "id" not in first
    assert second["id"] == kept["id"]
    assert first["name"] == second["name"]
    assert "64x64" in second["spec"]


def test_without_a_key_it_says_how_to_get_one(fresh_wandb, capsys):
    with wandb_server() as received:
        fresh_wandb.setenv("WANDB_BASE_URL", received.url)
        assert main(["dashboard", "--project", "lab"]) == 2
    assert "no key for W&B: wandb login" in capsys.readouterr().err
    assert received.named("upsertView") == []


@pytest.mark.slow
def test_a_server_that_is_not_there_is_named(fresh_wandb, capsys):
    fresh_wandb.setenv("WANDB_API_KEY", "0" * 40)
    fresh_wandb.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    assert main(["dashboard", "--project", "lab", "--entity", "lab"]) == 2
    assert "http://127.0.0.1:9 did not accept the dashboard" in capsys.readouterr().err


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    with pytest.raises(ValueError, match=r'pip install -e "\.\[dashboard\]"'):
        specification(Dashboard("lab"))


def test_a_malformed_size_is_refused(capsys):
    assert main(["dashboard", "--project", "lab", "--dry-run", "--output-size", "big"]) == 2
    assert "HEIGHTxWIDTH" in capsys.readouterr().err
