"""Sets with their own layout: the demo's photographs, DIV2K, Flickr2K, the benchmarks."""

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from srlab.data.low_resolution import lr_folders
from srlab.data.sources import ImageFile, ImageSet, find_images, lr_folders_beside
from srlab.terminal.names import some

_DEMO_TRAINING = (
    *("astronaut.png", "coffee.png", "motorcycle_left.png", "motorcycle_right.png", "ihc.png", "camera.png"),
    *("brick.png", "grass.png", "gravel.png"),
)
# The two stereo views above share their scene and must stay on one side of the split; retina and
# hubble_deep_field are mostly black.
_DEMO_HELD_OUT = ("chelsea.png", "rocket.jpg")

_REMEDY = "set SRLAB_DATA or paths.data to the folder that holds them"


def demo_photographs(part: Literal["train", "held_out"]) -> ImageSet:
    """Photographs inside scikit-image's wheel: cat and rocket are held out, the others train."""
    spec = find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise ValueError("data=demo uses scikit-image's photographs; pip install scikit-image")
    folder = Path(spec.submodule_search_locations[0]) / "data"
    names = _DEMO_TRAINING if part == "train" else _DEMO_HELD_OUT
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ValueError(
            f"the installed scikit-image does not have {', '.join(missing)} in {folder}; "
            'pip install "scikit-image>=0.25,<0.27" or use data=folder data.root=PATH'
        )
    return ImageSet("demo", tuple(ImageFile(Path(name).stem, folder / name) for name in names))


def div2k_images(root: str, first: int, last: int) -> ImageSet:
    """DIV2K (E. Agustsson, R. Timofte, CVPR Workshops 2017), by the numbers of its images.

    ``root`` or ``root/DIV2K`` holds ``DIV2K_train_HR`` (0001 to 0800) and ``DIV2K_valid_HR`` (0801 to 0900),
    or a folder ``HR`` with all of them, or the images. LR files are made, not read.
    """
    numbers = [f"{number:04d}" for number in range(first, last + 1)]
    bases = [Path(root).expanduser() / "DIV2K", Path(root).expanduser()]
    folders = [base / sub for base in bases for sub in ("DIV2K_train_HR", "DIV2K_valid_HR", "HR", ".")]
    files = {
        number: path
        for number in numbers
        for folder in reversed(folders)
        if (path := folder / f"{number}.png").is_file()
    }
    if missing := [number for number in numbers if number not in files]:
        raise ValueError(
            f"{len(missing)} of the DIV2K images {numbers[0]} to {numbers[-1]} are in none of "
            f"{some(folders, most=99)}, first {missing[0]}; srlab data download div2k, or unpack "
            f"DIV2K_train_HR.zip and DIV2K_valid_HR.zip there, or {_REMEDY}"
        )
    return ImageSet("DIV2K", tuple(ImageFile(number, files[number]) for number in numbers))


def df2k_images(root: str) -> ImageSet:
    """DIV2K 0001 to 0800 and Flickr2K (B. Lim and others, CVPR Workshops 2017) as one set.

    Names start with DIV2K/ and Flickr2K/.
    """
    parts = {"DIV2K": div2k_images(root, 1, 800).files, "Flickr2K": flickr2k_images(root)}
    files = [ImageFile(f"{name}/{file.name}", file.path) for name, part in parts.items() for file in part]
    return ImageSet("DF2K", tuple(files))


def flickr2k_images(root: str) -> list[ImageFile]:
    """Flickr2K, in ``root/Flickr2K/Flickr2K_HR``, ``Flickr2K_HR``, ``Flickr2K/HR`` or ``Flickr2K``."""
    base = Path(root).expanduser()
    layouts = ("Flickr2K/Flickr2K_HR", "Flickr2K_HR", "Flickr2K/HR", "Flickr2K")
    folder = next((base / sub for sub in layouts if (base / sub).is_dir()), base / layouts[0])
    return find_images(folder, remedy=f"srlab data download flickr2k, or unpack it there, or {_REMEDY}")


def benchmark_images(root: str, name: str) -> ImageSet:
    """A test set; one without files if it is not there.

    HR images are in a subfolder ``HR``, ``original`` or ``GTmod12`` of ``<set>``, in ``<set>_HR``, or in
    ``<set>`` itself. LR files may be in the folder of the set: ``LR_bicubic/X{scale}/<name>x{scale}.png`` (or
    ``x{scale}``, or ``LRbicx{scale}``, or files named as HR's). Other images there are left out, and logged.
    ``root`` is the folder with the sets, or with a folder ``benchmark`` that has them.
    """
    bases = [Path(root).expanduser() / "benchmark", Path(root).expanduser()]
    layouts = (f"{name}/HR", f"{name}/original", f"{name}/GTmod12", f"{name}_HR", name)
    tried = [base / layout for base in bases for layout in layouts]
    folder = next((folder for folder in tried if folder.is_dir()), None)
    if folder is None:
        remedy = f"srlab data download {name.lower()}, put it there, or {_REMEDY}"
        return ImageSet(name, (), if_none_usable=f"tried {some(tried, most=99)}; {remedy}")
    remedy = f"the images of {name} must be in one of {', '.join(layouts)}"
    files = find_images(folder, remedy=remedy)
    if folder.parent.name == name:
        return ImageSet(name, tuple(files), lr_folders_beside(folder, files))
    files = [file for file in files if file.path.parent == folder]
    if not files:
        raise ValueError(f"{folder} holds images in subfolders only; {remedy}")
    return ImageSet(name, tuple(files), lr_folders(folder))
