"""The images that elan_tiny is trained on, from three collections: a folder with images.json.

python benchmarks/training_images.py --t91 T91 --bsds BSDS500_train --photographs FOLDER [FOLDER …]
    [--out data/elan_tiny]

T91 and BSDS500's training images are copied as they are; 302003 is left out, because Set5 "woman" is a part
of it. Photographs of many megapixels are reduced to a third, or to half if a side would fall below 480
pixels, which removes the traces of their sensor, their JPEG files and their sharpening, and cut into parts of
about 480 pixels. Held out are one BSDS image in twenty and one photograph in ten, whole and reduced likewise,
by the SHA-256 of their names. images.json has the digest of every file and its origin.
"""

import argparse
import hashlib
import json
import math
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from srlab.data.bicubic_window import context, downsample_window
from srlab.data.images import read_image
from srlab.data.sources import find_images

PART = 480
LEFT_OUT = ("302003",)
HELD_OUT_EVERY = {"bsds": 20, "photographs": 10}


def main() -> None:
    """Parse, copy, reduce and cut."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--t91", type=Path, required=True)
    parser.add_argument("--bsds", type=Path, required=True)
    parser.add_argument("--photographs", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, default=Path("data/elan_tiny"))
    chosen = parser.parse_args()
    if chosen.out.exists():
        parser.error(f"{chosen.out} exists; remove it or choose another folder")
    collections = {"t91": [chosen.t91], "bsds": [chosen.bsds], "photographs": chosen.photographs}
    entries = []
    for name, folders in collections.items():
        files = [file.path for folder in folders for file in find_images(folder)]
        files = [path for path in files if path.stem not in LEFT_OUT]
        held_out = _held_out(files, HELD_OUT_EVERY.get(name))
        for path in files:
            part = "held_out" if path in held_out else "train"
            made = _make(path, chosen.out / part / name, reduced=name == "photographs", cut=part == "train")
            entries += [
                {"file": str(each.relative_to(chosen.out)), "sha256": _digest(each), "origin": path.name}
                for each in made
            ]
    listed = "".join(sorted(entry["file"] + entry["sha256"] for entry in entries))
    record = {"digest": hashlib.sha256(listed.encode()).hexdigest(), "images": entries}
    (chosen.out / "images.json").write_text(json.dumps(record, indent=1) + "\n")
    print(f"{len(entries)} images in {chosen.out}, digest {record['digest']}")


def _held_out(files: Sequence[Path], every: int | None) -> set[Path]:
    ordered = sorted(files, key=lambda path: hashlib.sha256(path.stem.encode()).hexdigest())
    return set(ordered[: len(files) // every]) if every else set()


def _make(path: Path, folder: Path, *, reduced: bool, cut: bool) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    if not reduced:
        yield Path(shutil.copy(path, folder / path.name))
        return
    image = read_image(path)
    image = _reduced(image, 3 if min(image.shape[1:]) // 3 >= PART else 2)
    rows, columns = (max(1, round(side / PART)) if cut else 1 for side in image.shape[1:])
    for row, column in ((row, column) for row in range(rows) for column in range(columns)):
        made = folder / (f"{path.stem}_{row}{column}.png" if cut else f"{path.stem}.png")
        part = _share(_share(image, 1, row, rows), 2, column, columns)
        Image.fromarray(part.transpose(1, 2, 0).squeeze()).save(made, optimize=True)
        yield made


def _reduced(image: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """MATLAB's bicubic to sides of ceil(side / scale); beyond its borders an image is mirrored."""
    margin = context(scale)
    sides = [(margin, margin + -side % scale) for side in image.shape[1:]]
    return downsample_window(np.pad(image, [(0, 0), *sides], mode="symmetric"), scale)


def _share(image: NDArray[np.uint8], axis: int, index: int, count: int) -> NDArray[np.uint8]:
    side = math.ceil(image.shape[axis] / count)
    return image.take(range(index * side, min((index + 1) * side, image.shape[axis])), axis)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
