"""The images of docs/ablation.md: those of elan_tiny, with repeated structure held out as well.

python benchmarks/ablation_images.py data/elan_tiny [--out data/ablation]

Attention to distant places can only pay where distant places are alike. The largest local maxima of the
images' autocorrelation, at distances of 12 to 90 pixels and after a high pass, named the candidates; those
that show a lattice, slats, railings, planks or facades were chosen by eye; repeated.txt lists them for
srlab report --group. Other parts of a held-out photograph are not trained on.
"""

import argparse
import shutil
from pathlib import Path

REPEATED = (
    "bsds/198023.jpg",
    "bsds/126039.jpg",
    "bsds/78019.jpg",
    "bsds/138078.jpg",
    "photographs/abstract-spiral_00.png",
    "photographs/piazza-gae-aulenti_10.png",
    "photographs/singaporean-cityscape_02.png",
)


def main() -> None:
    """Copy what is trained on and what is held out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path, help="folder of benchmarks/training_images.py")
    parser.add_argument("--out", type=Path, default=Path("data/ablation"))
    chosen = parser.parse_args()
    if chosen.out.exists():
        parser.error(f"{chosen.out} exists; remove it or choose another folder")
    shutil.copytree(chosen.images / "held_out", chosen.out / "held_out")
    photographs = {Path(name).stem.rpartition("_")[0] for name in REPEATED if name.startswith("photographs")}
    for path in sorted((chosen.images / "train").rglob("*.*")):
        name = str(path.relative_to(chosen.images / "train"))
        if name not in REPEATED and path.stem.rpartition("_")[0] in photographs:
            continue
        copy = chosen.out / ("held_out" if name in REPEATED else "train") / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    names = [str(Path(name).with_suffix("")) for name in REPEATED]
    (chosen.out / "repeated.txt").write_text("\n".join(names) + "\n")


if __name__ == "__main__":
    main()
