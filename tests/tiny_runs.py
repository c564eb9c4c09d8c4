"""train.py on photographs and a network so small that a run takes a second or two."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
TINY = [
    *("model=elan_demo", "model.dim=12", "model.depth=4", "model.window_sizes=[2,4]", "scale=2"),
    *("latency.output_size=[32,32]", "latency.warmup=0", "latency.repeats=1"),
    *("data.patch_size=8", "data.batch_size=4", "data.num_workers=0"),
    *("trainer.accelerator=cpu", "trainer.log_every_n_steps=1", "trainer.max_steps=4", "validate_every=2"),
]


def write_photos(root: Path) -> list[str]:
    """Smooth random pictures, four to train and three to validate on; returns overrides that name them."""
    generator = np.random.default_rng(0)
    for folder, count in (("train", 4), ("validation", 3)):
        (root / folder).mkdir(parents=True)
        for index in range(count):
            small = generator.integers(0, 256, (8, 9, 3), dtype=np.uint8)
            picture = Image.fromarray(small).resize((72, 64), Image.Resampling.BICUBIC)
            picture.save(root / folder / f"{index}.png")
    cache = f"paths.cache={root / 'cache'}"
    return [
        "data=folder",
        f"data.root={root / 'train'}",
        f"data.validation_root={root / 'validation'}",
        cache,
    ]


def train(*words: str) -> None:
    """Run train.py's main in this process, as typed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        patch.setattr(sys, "argv", ["train.py", *words])
        import train as script

        script.main()
