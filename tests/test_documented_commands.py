"""Commands of README.md and docs/ that take seconds run as written, in a folder with what they assume."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch

import srlab
from documented_commands import PAGES, README, ROOT, commands
from extensions.report.synthetic_runs import write_cell, write_run, write_sweep
from forked_runs import ForkedRuns
from image_files import save_noise
from option_files import SWINIR_LIGHT
from srlab.checkpoints import save_official
from training_runs import SMALL, TINY_ELAN

DATE = "2026-11-21_10-00-00"
SETS = ("Set5", "Set14", "B100", "Urban100", "Manga109")
PICTURES = (
    *("photo.jpg", "holidays/beach.jpg", "scans/page.tif", "stills/still.png", "BSDS500_train/1.png"),
    *("photos/a.png", "photos/b.png", "validation/c.png", "data/elan_tiny/train/a.png"),
    *("data/elan_tiny/held_out/a.png", *(f"benchmark/{name}/HR/a.png" for name in SETS)),
)
# What begins so is not run, and why.
LEFT_OUT = {
    r"train\.py resume=run": "goes on for days with what ships",
    r"train\.py(?! (resume|rerun|--config-dir)=?)": "trains for minutes to days",
    r"evaluate\.py checkpoint=hit_srf_x4": "needs what was downloaded",
    r"evaluate\.py model=elan_tiny": "times seven passes of 1280x720",
    r"evaluate\.py checkpoint=RUN scale=": "needs a network of any scale",
    r"srlab (data )?download (?!--list)": "downloads",
    r"srlab profile (?!--table)": "measures for minutes",
    r"srlab export": "takes a minute; tests/extensions/export runs them",
    r"srlab (app|dashboard)": "needs a browser, or a server of W&B",
    r"srlab upscale film": "needs PyAV; tests/extensions/upscale runs them",
    r"srlab report multirun/NIGHT --group": "needs scores of each image; tests/extensions/report has them",
    r"srlab report multirun/ablation": "compares trainings of an hour and a half",
}
FURTHER = {README: [["srlab", "doctor"]]}  # named in a sentence


def typed(page: Path) -> list[list[str]]:
    """Program and words of each command of a page."""
    written = [["srlab", *words] for words in commands("srlab", [page])]
    for program in ("train.py", "evaluate.py", "-c"):
        written += [[program, *words] for words in commands(f"python {program}", [page])]
    return written


def is_quick(words: list[str]) -> bool:
    return not any(re.match(start, " ".join(words)) for start in LEFT_OUT)


QUICK = {page: FURTHER.get(page, []) + [words for words in typed(page) if is_quick(words)] for page in PAGES}
QUICK = {page: found for page, found in QUICK.items() if found}


@pytest.fixture(scope="module")
def written(forked: ForkedRuns, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small pictures, files of tiny networks, a finished run, sweeps and option files."""
    root = tmp_path_factory.mktemp("written")
    for seed, name in enumerate(PICTURES):
        save_noise(root / name, 48, 60, 3, seed=seed)
    (root / "data" / "benchmark").symlink_to("../benchmark")
    torch.manual_seed(0)
    for name in ("model_x4.pt", "model_x4_500.pt"):
        save_official(srlab.create_model("elan_demo", scale=4, dim=12, depth=4), root / name)
    run = root / "outputs" / "elan_demo_x2" / DATE
    data = ["data=folder", "data.root=photos", "data.validation_root=validation"]
    forked.finish(
        [*TINY_ELAN, *SMALL, *data, "trainer.max_steps=2", "validate_every=1", f"hydra.run.dir={run}"],
        cwd=root,
    )
    for name in ("elan_demo_x2/RUN", f"elan_light_x4/{DATE}", "elan_light_x4/A", "elan_light_x4/B"):
        shutil.copytree(run, root / "outputs" / name)
    shutil.copytree(run, root / "RUN")
    for name in (DATE, "NIGHT"):
        sweep = write_sweep(root / "multirun" / name, {"model.n_share": ["0", "1"]})
        for share in ("0", "1"):
            write_cell(sweep / share, swept={"model.n_share": share})
            write_run(sweep / share, psnr=30.0, n_share=share, lr="0.1", latency_ms=9.0, window_sizes="[4,4]")
    (root / "profiles").mkdir()
    shutil.copy(ROOT / "docs/results/speed-x4-128x128-epyc-2cores.json", root / f"profiles/{DATE}.json")
    options = root / "options/train/SwinIR/train_SwinIR_SRx2_scratch.yml"
    options.parent.mkdir(parents=True)
    options.write_text(SWINIR_LIGHT.format(root=root))
    return root


@pytest.mark.slow
@pytest.mark.parametrize("page", QUICK, ids=lambda page: page.stem)
def test_commands_run_as_they_are_written(page: Path, written: Path, forked: ForkedRuns, tmp_path: Path):
    """One after the other, in a folder for the page: later ones use what earlier ones leave."""
    folder = shutil.copytree(written, tmp_path / "folder", symlinks=True)
    variables = {"SRLAB_DATA": str(folder / "data"), "SRLAB_CACHE": str(written.parent / "cache")}
    for program, *words in QUICK[page]:
        expanded = [
            found for word in words for found in (sorted(folder.glob(word)) if "*" in word else [word])
        ]
        command = forked.start(expanded, cwd=folder, program=program, **variables)
        assert command.wait() == 0, f"{shlex.join([program, *words])}: {command.output}"


def test_each_reason_to_leave_a_command_out_has_one():
    written = [" ".join(words) for page in PAGES for words in typed(page)]
    assert [start for start in LEFT_OUT if not any(re.match(start, line) for line in written)] == []
    assert len(QUICK) > 5
