"""Which files and folders hold low-resolution images, by the names that data sets use.

Folders such as ``LR``, ``lq``, ``LRx2``, ``LRbicx4`` (BasicSR), ``LRBI`` (RCAN), ``LR_bicubic``,
``DIV2K_train_LR_unknown``; files such as ``img_001_SRF_2_LR`` next to ``img_001_SRF_2_HR`` (SelfExSR),
``baby_LRBI_x2`` next to ``baby_HR_x2``, ``0001x4`` next to ``0001`` (DIV2K).
"""

import re
from collections.abc import Collection
from pathlib import Path

_SEPARATORS = re.compile(r"[ _.\-]+")
_LR = re.compile(
    r"(lr|lq)(bic|bicubic|bi|bd|dn|unknown|mild|difficult|wild)?(x?[2348])?|lowres|lowresolution", re.I
)
_HR = re.compile(r"(hr|gt|hq)(mod\d+)?(x?[2348])?|highres|highresolution", re.I)
_SCALE_AT_END = re.compile(r"_?x[2348]$", re.I)
# MATLAB's bicubic, for one scale, or for several in subfolders: LRbicx2, LR_bicubic/X2.
_BICUBIC = re.compile(r"(?:lr_?bicubic|lr_?bic|lrbi)(?:[_/]?x([2348]))?", re.I)


def is_lr_folder(name: str) -> bool:
    """Whether a folder of this name holds LR images; one whose name has HR in it as well holds both."""
    parts = _SEPARATORS.split(name)
    parts = [*parts, "".join(parts)]  # low_res
    return any(map(_LR.fullmatch, parts)) and not any(map(_HR.fullmatch, parts))


def lr_stems(stems: Collection[str]) -> set[str]:
    """Those names, without suffix or folder, whose HR counterpart is among them."""
    counterparts = {stem.casefold() for stem in stems} | {
        marked for stem in stems if (marked := _marked(stem, _HR)) is not None
    }
    return {stem for stem in stems if not counterparts.isdisjoint(_counterparts(stem))}


def pair_key(name: str) -> str:
    """What the names of an HR file and of its LR file have in common: no scale at the end, no mark LR or HR.

    ``name`` is a path without suffix; the folders in it stay as they are.
    """
    above, _, stem = name.casefold().rpartition("/")
    parts = _SEPARATORS.split(_SCALE_AT_END.sub("", stem))
    for pattern in (_LR, _HR):
        places = [place for place, part in enumerate(parts) if pattern.fullmatch(part)]
        if places and len(parts) > 1:
            del parts[places[-1]]
            break
    return f"{above}/{'_'.join(parts)}"


def _counterparts(stem: str) -> set[str]:
    bare = _SCALE_AT_END.sub("", stem).casefold()
    marked = _marked(stem, _LR)
    return ({bare} - {stem.casefold()}) | (set() if marked is None else {marked})


def _marked(stem: str, pattern: re.Pattern[str]) -> str | None:
    """The name with a mark where ``pattern`` was, so that LR and HR names of one image become equal."""
    parts = _SEPARATORS.split(stem.casefold())
    places = [place for place, part in enumerate(parts) if pattern.fullmatch(part)]
    if not places:
        return None
    parts[places[-1]] = "/"  # not part of any name
    return "_".join(parts)


def lr_folders(base: Path) -> dict[int, Path]:
    """Folders in ``base`` with bicubic LR images, by scale: ``LR_bicubic/X2``, ``LRBI/x2``, ``LRbicx2``.

    Case does not matter; the first one in order of names is taken.
    """
    found: dict[int, Path] = {}
    for path in sorted([*base.glob("*"), *base.glob("*/*")]):
        match = _BICUBIC.fullmatch(path.relative_to(base).as_posix())
        if match and match[1] and path.is_dir():
            found.setdefault(int(match[1]), path)
    return found
