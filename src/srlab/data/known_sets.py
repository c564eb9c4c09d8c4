"""Sources with a layout of their own: the demo's photographs, DIV2K, Flickr2K, the benchmarks."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from srlab.data.sources import Found, ImageFile, ImageSet, Source, find_images, listing, lr_beside

__all__ = ["BenchmarkSets", "DemoPhotographs", "Div2K", "Flickr2K", "Joined"]

_DEMO_TRAINING = (
    "astronaut.png",
    "coffee.png",
    "motorcycle_left.png",
    "motorcycle_right.png",
    "ihc.png",
    "camera.png",
    "brick.png",
    "grass.png",
    "gravel.png",
)
# The two stereo views above share their scene and must stay on one side; retina and hubble_deep_field are
# mostly black.
_DEMO_HELD_OUT = ("chelsea.png", "rocket.jpg")


class DemoPhotographs:
    """Photographs inside scikit-image's wheel: cat and rocket are held out, the others train.

    Args:
        part: ``"train"`` or ``"held_out"``.
    """

    def __init__(self, *, part: Literal["train", "held_out"]) -> None:
        if part not in ("train", "held_out"):
            raise ValueError(f"part must be 'train' or 'held_out', got {part!r}")
        self.part = part

    def find(self) -> Found:
        """One set called ``demo``."""
        spec = find_spec("skimage")
        if spec is None or not spec.submodule_search_locations:
            raise ValueError(
                "data=demo shows photographs of scikit-image, which is missing; pip install scikit-image"
            )
        folder = Path(spec.submodule_search_locations[0]) / "data"
        names = _DEMO_TRAINING if self.part == "train" else _DEMO_HELD_OUT
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise ValueError(
                f"the installed scikit-image does not carry {', '.join(missing)} in {folder}; "
                'pip install "scikit-image>=0.25,<0.27" or use data=folder data.root=PATH'
            )
        return Found((ImageSet("demo", tuple(ImageFile(Path(name).stem, folder / name) for name in names)),))


class Div2K:
    """DIV2K (E. Agustsson, R. Timofte, CVPR Workshops 2017), by the numbers of its images.

    ``root`` holds ``DIV2K_train_HR`` (0001 to 0800) and ``DIV2K_valid_HR`` (0801 to 0900), or is such a
    folder itself, or holds all of them; ``root/DIV2K`` is looked into as well. LR files are made, not read.

    Args:
        root: folder.
        first: number of the first image, 1 to 900.
        last: number of the last one.
    """

    def __init__(self, *, root: str, first: int, last: int) -> None:
        if not 1 <= first <= last <= 900:
            raise ValueError(f"DIV2K has images 1 to 900, got first={first}, last={last}")
        self.root = Path(root).expanduser()
        self.first = first
        self.last = last

    def find(self) -> Found:
        """One set called ``DIV2K``; every number in the range must be there."""
        wanted = [f"{number:04d}" for number in range(self.first, self.last + 1)]
        bases = [self.root / "DIV2K", self.root]
        folders = [b / sub for b in bases for sub in ("DIV2K_train_HR", "DIV2K_valid_HR", "HR", ".")]
        files = {
            n: path for n in wanted for folder in reversed(folders) if (path := folder / f"{n}.png").is_file()
        }
        if not files:
            raise ValueError(
                f"no DIV2K image {wanted[0]} to {wanted[-1]} in any of {listing(folders)}; unpack "
                "DIV2K_train_HR.zip and "
                "DIV2K_valid_HR.zip there, or set SRLAB_DATA or paths.data to the folder that holds them"
            )
        missing = [number for number in wanted if number not in files]
        if missing:
            raise ValueError(
                f"DIV2K in {next(iter(files.values())).parent} lacks {len(missing)} of {len(wanted)} "
                "images, first "
                f"{missing[0]}; unpack the archives again"
            )
        return Found((ImageSet("DIV2K", tuple(ImageFile(number, files[number]) for number in wanted)),))


class Flickr2K:
    """Flickr2K (B. Lim and others, CVPR Workshops 2017): every image in ``Flickr2K/Flickr2K_HR``."""

    def __init__(self, *, root: str) -> None:
        self.root = Path(root).expanduser()

    def find(self) -> Found:
        """One set called ``Flickr2K``."""
        tried = [
            self.root / sub for sub in ("Flickr2K/Flickr2K_HR", "Flickr2K_HR", "Flickr2K/HR", "Flickr2K")
        ]
        folder = next((folder for folder in tried if folder.is_dir()), None)
        if folder is None:
            raise ValueError(
                f"no Flickr2K in any of {listing(tried)}; unpack it there, or set SRLAB_DATA or "
                "paths.data to the "
                "folder that holds it"
            )
        return Found((ImageSet("Flickr2K", tuple(find_images(folder))),))


class Joined:
    """Several sources as one set; names start with their set's.

    Args:
        name: of the joint set.
        parts: sources, all of which must be there.
    """

    def __init__(self, *, name: str, parts: Sequence[Source]) -> None:
        self.name = name
        self.parts = parts

    def find(self) -> Found:
        """The one joint set."""
        sets = [image_set for part in self.parts for image_set in part.find().sets]
        files = [ImageFile(f"{group.name}/{file.name}", file.path) for group in sets for file in group.files]
        return Found((ImageSet(self.name, tuple(files)),))


class BenchmarkSets:
    """Test sets in the usual layout, ``<set>/HR/*.png``.

    LR files may stand beside: ``<set>/LR_bicubic/X{scale}/<name>x{scale}.png`` (or ``x{scale}``, or
    ``LRbicx{scale}``, or files named as HR's). Other images beside ``HR`` are left out, and logged.

    Args:
        root: folder with the sets, or with a folder ``benchmark`` that has them.
        sets: names such as Set5; those that are not there are reported as absent.
    """

    def __init__(self, *, root: str, sets: Sequence[str]) -> None:
        if not sets or len(set(sets)) < len(sets):
            raise ValueError(f"data.sets must name at least one set and none twice, got {list(sets)}")
        self.root = Path(root).expanduser()
        self.sets = list(sets)

    def find(self) -> Found:
        """The sets that are there, in the order asked for."""
        found: list[ImageSet] = []
        for name in self.sets:
            bases = [base / name for base in (self.root / "benchmark", self.root)]
            base = next((base for base in bases if (base / "HR").is_dir()), None)
            if base is not None:
                files = tuple(find_images(base / "HR"))
                found.append(ImageSet(name, files, lr_beside(base / "HR", files)))
        absent = tuple(name for name in self.sets if name not in {image_set.name for image_set in found})
        if not found:
            tried = [
                base / name / "HR" for name in self.sets for base in (self.root / "benchmark", self.root)
            ]
            raise ValueError(
                f"none of the benchmark sets is there; tried {listing(tried)}; put them there, or set "
                "SRLAB_DATA or "
                "paths.data to the folder that holds them"
            )
        return Found(tuple(found), absent)
