"""A sweep as it may look after a bad night: seeds, a failure, a kill, a cell that never began."""

import numpy as np
import pytest

from extensions.report.synthetic_runs import (
    write_cell,
    write_photograph,
    write_restoration,
    write_run,
    write_sweep,
)

WINDOWS = ("[4,8,16]", "[8,8,8]", "[16,16,16]")
SHARES = ("0", "1", "3")
SEEDS = ("1", "2")


@pytest.fixture(scope="session")
def sweep(tmp_path_factory):
    """3 windows x 3 shares x 2 seeds; one cell failed, one was killed, one has not begun."""
    root = tmp_path_factory.mktemp("sweep") / "2026-11-21_10-00-00"
    write_sweep(root, {"model.window_sizes": WINDOWS, "model.n_share": SHARES, "seed": SEEDS})
    photographs = [root.parent / "photos" / f"{name}.png" for name in ("baby", "bird", "woman")]
    for number, photograph in enumerate(photographs):
        write_photograph(photograph, seed=number)
    generator = np.random.default_rng(5)
    for place, window in enumerate(WINDOWS):
        for share in SHARES:
            for seed in SEEDS:
                folder = (
                    root / f"model.n_share={share},model.window_sizes={window.replace(' ', '')},seed={seed}"
                )
                swept = {"model.window_sizes": window, "model.n_share": share, "seed": seed}
                config = {"seed": seed, "n_share": share, "window_sizes": window}
                costs = {
                    "latency_ms": 40 + 30 * place - 8 * int(share),
                    "params": 600_000 - 20_000 * int(share),
                }
                costs["multiply_adds"] = int((50 + 12 * place - 4 * int(share)) * 1e9)
                if (place, share, seed) == (2, "3", "2"):
                    continue
                if (place, share) == (0, "3"):
                    write_cell(
                        folder, swept=swept, state="failed", exit_status=1,
                        message="RuntimeError: <script>alert('no')</script> & \"more\"",
                    )  # fmt: skip
                    continue
                if (place, share, seed) == (1, "1", "2"):
                    write_cell(folder, swept=swept, state="running")
                    write_run(folder, psnr=None, **config, **costs)
                    continue
                write_cell(folder, swept=swept)
                write_run(folder, psnr=None, **config)
                noise = 9 - place - 0.8 * int(share) + 0.1 * int(seed)
                images = [
                    write_restoration(folder, photograph, noise=noise + number, seed=7, spot=(64, 32))
                    for number, photograph in enumerate(photographs)
                ]
                psnr = 32 + 0.11 * place - 0.07 * int(share) + float(generator.normal()) * 0.02
                preset = "elan_light" if (place, share) == (0, "1") else None
                write_run(folder, psnr=psnr, images=images, preset=preset, **config, **costs)
    return root
