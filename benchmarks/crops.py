"""Training crops a second: the exact sampler against the naive way (decode, crop, imresize), interleaved.

python benchmarks/crops.py [--images FOLDER] [--scale 4] [--patch 64] [--workers 2] [--rounds 7] [--json FILE]

Both run in the same number of loader processes and yield batches of uint8 pairs; starting them and their
first batches are not timed. "cpu" is the sampler alone in this process, in crops per second of CPU time,
which other programs on the machine disturb less. Without a folder the photographs are the demo's.
(``srlab profile MODEL --step training --data NAME`` compares a loader with a network.)
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from srlab.counts.probe import device_name
from srlab.data.augmentation import augment_on_device
from srlab.data.crop_scales import FixedScale
from srlab.data.degradation import BicubicDegradation
from srlab.data.images import read_image
from srlab.data.known_sets import demo_photographs
from srlab.data.loader import PREFETCHED, Loader
from srlab.data.sampling import GlobalBatchSampler, draw_crop, image_of
from srlab.data.sources import ImageFile, ImageSet, folder_images
from srlab.data.store import open_store
from srlab.data.training_crops import TrainingCrops
from srlab.ops.resize import imresize
from srlab.runs.provenance import source_commit

BATCH = 16


class NaiveCrops(Dataset[dict[str, Tensor]]):
    """Decodes a whole file for each crop and downsamples only the crop: its border pixels are wrong."""

    def __init__(self, *, files: Sequence[ImageFile], scale: int, patch_size: int) -> None:
        self.files = files
        self.scale = scale
        self.patch_size = patch_size

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        image = read_image(self.files[image_of(0, index, len(self.files))].path)
        scale, side = self.scale, self.patch_size
        positions = (image.shape[1] // scale - side + 1, image.shape[2] // scale - side + 1)
        crop = draw_crop(0, index, positions, augment=True)
        top, left = crop.top * scale, crop.left * scale
        window = image[:, top : top + side * scale, left : left + side * scale]
        hr_image = torch.from_numpy(np.array(np.broadcast_to(window, (3, *window.shape[1:]))))
        lr_image = imresize(hr_image, scale=Fraction(1, scale), mode="uint8")
        turn = torch.tensor([crop.turn])
        lr_image, hr_image = (augment_on_device(picture[None], turn)[0] for picture in (lr_image, hr_image))
        return {"lr_image": lr_image, "hr_image": hr_image}


def main() -> None:
    """Measure, print a line for each way and the JSON record."""
    options = _options()
    torch.set_num_threads(1)
    image_set = folder_images(options.images) if options.images else demo_photographs("train")
    with tempfile.TemporaryDirectory() as cache:
        exact, naive = _samplers(image_set, options, Path(cache))
        rates: dict[str, list[float]] = {"exact": [], "naive": [], "cpu": []}
        for _ in range(options.rounds):
            rates["exact"].append(
                crops_per_second(_exact_loader(exact, options.workers), options.crops, options.workers)
            )
            rates["naive"].append(
                crops_per_second(
                    _naive_loader(naive, options.workers),
                    max(2 * BATCH, options.crops // 20),
                    options.workers,
                )
            )
            rates["cpu"].append(crops_per_cpu_second(exact, options.crops // 4))
    report = _report(options, rates, images=len(exact.images))
    for way in rates:
        low, middle, high = (report[way][key] for key in ("lowest", "median", "highest"))
        print(
            f"{way}: {middle:8.0f} crops/s  (lowest {low:.0f}, highest {high:.0f}, {options.rounds} rounds)"
        )
    print(f"exact / naive, medians: {report['ratio']:.1f}")
    print(json.dumps(report))
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n")


def _samplers(
    image_set: ImageSet, options: argparse.Namespace, cache: Path
) -> tuple[TrainingCrops, NaiveCrops]:
    exact = TrainingCrops(
        store=open_store(image_set, cache=cache, on_bad_image="error"),
        scales=FixedScale(scale=options.scale, patch_size=options.patch),
        seed=0,
        degradation=BicubicDegradation(),
        augment=True,
        on_bad_image="skip",
        degrade_on="worker",
    )
    large = [image_set.files[number] for number in exact.images]
    return exact, NaiveCrops(files=large, scale=options.scale, patch_size=options.patch)


def _exact_loader(crops: TrainingCrops, workers: int) -> Iterable[dict[str, Tensor]]:
    return Loader(crops.batch, batches=_endless(), num_workers=workers, pin_memory=False)


def _naive_loader(crops: NaiveCrops, workers: int) -> Iterable[dict[str, Tensor]]:
    return DataLoader(crops, batch_sampler=_endless(), num_workers=workers)


def _endless() -> GlobalBatchSampler:
    return GlobalBatchSampler(
        batch_size=BATCH, num_replicas=1, rank=0, accumulate=1, start_step=0, num_steps=None
    )


def crops_per_second(loader: Iterable[dict[str, Tensor]], crops: int, workers: int) -> float:
    """Rate, without the batches that the workers had prefetched."""
    batches = iter(loader)
    for _ in range(max(1, workers * PREFETCHED)):
        next(batches)
    start = time.perf_counter()
    counted = sum(len(batch["hr_image"]) for batch in islice(batches, -(-crops // BATCH)))
    return counted / (time.perf_counter() - start)


def crops_per_cpu_second(dataset: TrainingCrops, crops: int) -> float:
    """Rate of the sampler by the CPU time of this process."""
    start = time.process_time()
    for first in range(0, crops, BATCH):
        dataset.batch(range(first, min(first + BATCH, crops)))
    return crops / (time.process_time() - start)


def _report(options: argparse.Namespace, rates: dict[str, list[float]], images: int) -> dict:
    summaries = {
        way: {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}
        for way, values in rates.items()
    }
    return {
        "benchmark": "crops",
        **summaries,
        "ratio": summaries["exact"]["median"] / summaries["naive"]["median"],
        "unit": "crops/s",
        "scale": options.scale,
        "hr_side": options.scale * options.patch,
        "workers": options.workers,
        "rounds": options.rounds,
        "crops_per_round": options.crops,
        "images": Path(options.images).name if options.images else "demo",
        "number_of_images": images,
        "processor": device_name(torch.device("cpu")),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "commit": source_commit(),
        "date": time.strftime("%Y-%m-%d"),
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", help="folder of images, each at least scale*patch pixels on both sides")
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--patch", type=int, default=64, help="side of the LR crop")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--crops", type=int, default=3000, help="exact crops in a round; a twentieth for the naive way"
    )
    parser.add_argument("--json", help="write the report there as well")
    return parser.parse_args()


if __name__ == "__main__":
    main()
