"""Runs at W&B, as its public client hands them out."""

from types import SimpleNamespace

import pytest

from srlab.extensions.report import ablation_table, compare
from srlab.extensions.report.wandb_runs import read_wandb


class Service:
    """What ``wandb.Api`` documents of ``runs`` and of a run."""

    def __init__(self, *runs):
        self.found = runs
        self.asked = []

    def runs(self, path, filters):
        self.asked.append((path, filters))
        return iter(self.found)


def run(name, *, seed, n_share, psnr, state="finished"):
    rows = [{"trainer/global_step": 10, "val/psnr": 20.0}, {"trainer/global_step": 20, "val/psnr": psnr}]
    summary = {
        "best/val/psnr": psnr, "best/val/Set5/psnr": psnr, "best/val/Set5/ssim": 0.9, "best/step": 20,
        "step": 20, "bicubic/val/psnr": 28.0,
        "params/all": 600, "multiply_adds/720x1280": 10**9, "latency_ms/720x1280": 12.0,
        "latency_ms_p10/720x1280": 11.0, "latency_ms_p90/720x1280": 14.0, "peak_memory_mib/720x1280": 5.0,
    }  # fmt: skip
    return SimpleNamespace(
        path=["lab", "elan", name], name=name, group="night", state=state, created_at="2026-11-21",
        url=f"https://wandb.example/{name}", commit="c0ffee",
        config={
            "seed": seed, "scale": 2, "model": {"n_share": n_share, "scale": 2}, "data": {"seed": seed},
            "paths": {"run": f"/runs/{name}"},
            "callbacks": {"best": {"dirpath": f"/runs/{name}/checkpoints"}},
            "protocol": {"basicsr": {"name": "basicsr"}}, "latency": {"output_size": [720, 1280]},
            "_wandb": {"t": 1},
        },
        summary=summary if psnr is not None else {},
        history=lambda keys, samples, pandas: [row for row in rows if all(key in row for key in keys)],
    )  # fmt: skip


def test_runs_become_the_same_table_as_ours():
    service = Service(
        run("a", seed=1, n_share=0, psnr=30.0), run("b", seed=2, n_share=0, psnr=31.0),
        run("c", seed=1, n_share=3, psnr=29.0),
    )  # fmt: skip
    runs = read_wandb("lab/elan/night", api=service)
    assert service.asked == [("lab/elan", {"group": "night"})]
    comparison = compare(runs)
    assert [parameter.key for parameter in comparison.parameters] == ["model.n_share"]
    assert comparison.warnings == ()
    table = ablation_table(comparison)
    values = {
        column.key: estimate for column, estimate in zip(table.columns, table.rows[0].estimates, strict=True)
    }
    assert (values["psnr/Set5"].mean, values["psnr/Set5"].n) == (30.5, 2)
    assert (values["latency_ms"].mean, values["latency_ms"].high) == (12.0, 14.0)
    assert runs[0].curves["val/psnr"] == ((10, 20.0), (20, 30.0))
    assert runs[0].source == "wandb:lab/elan/a"


@pytest.mark.parametrize(
    ("state", "shown"),
    [("crashed", "failed"), ("failed", "failed"), ("running", "running"), ("finished", "unfinished")],
)
def test_runs_without_scores_are_there(state, shown):
    [found] = read_wandb("lab/elan", api=Service(run("a", seed=1, n_share=0, psnr=None, state=state)))
    assert (found.state, found.finished) == (shown, False)


def test_an_address_and_an_answer_must_make_sense():
    with pytest.raises(ValueError, match="write wandb:ENTITY/PROJECT or wandb:ENTITY/PROJECT/GROUP"):
        read_wandb("lab//night", api=Service())
    with pytest.raises(ValueError, match="wandb:lab/elan has no runs"):
        read_wandb("lab/elan", api=Service())


def test_a_service_that_cannot_be_asked_is_said():
    import requests

    class Silent:
        def runs(self, path, filters):
            raise requests.ConnectionError("nobody there")

    with pytest.raises(ValueError, match="cannot be asked for wandb:lab/elan: nobody there; see wandb login"):
        read_wandb("lab/elan", api=Silent())
