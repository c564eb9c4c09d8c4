"""Download data sets to where data=div2k, df2k and benchmark read them; find test images in training sets.

Downloads resume where they were interrupted and are checked. Sets that are complete are not downloaded again.

  srlab data list
  srlab data download div2k set5 urban100
  srlab data download flickr2k --to /disk/data
  srlab data overlap photos/ DIV2K_train_HR/ --against benchmark/
"""

import argparse
from collections.abc import Sequence
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what to do with which sets."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    download = actions.add_parser("download", help="download and unpack sets", allow_abbrev=False)
    download.add_argument("names", nargs="+", metavar="NAME", help="such as div2k, flickr2k or set5")
    listing = actions.add_parser(
        "list", help="print which sets there are, and their terms", allow_abbrev=False
    )
    overlap = actions.add_parser(
        "overlap", help="find training images that show what test images show", allow_abbrev=False
    )
    overlap.add_argument("train", nargs="+", type=Path, metavar="TRAIN", help="images or folders")
    overlap.add_argument("--against", nargs="+", type=Path, metavar="TEST", required=True)
    overlap.add_argument("--threshold", type=float, help="of the correlation, in (0, 1]; default: 0.5")
    for each in (download, listing):
        each.add_argument("--to", type=Path, metavar="FOLDER", help="default: SRLAB_DATA, or data")


def run(arguments: argparse.Namespace) -> None:
    """Download, list or compare.

    Raises:
        ValueError: an unknown set, or what :func:`srlab.extensions.downloads.sets.download_set` and
            :func:`srlab.extensions.overlap.search.find_overlaps` raise.
        SystemExit: with status 1, if images overlap.
    """
    if arguments.action == "overlap":
        if _print_overlaps(arguments.train, arguments.against, arguments.threshold):
            raise SystemExit(1)
        return
    from srlab.extensions.downloads.listing import print_sets
    from srlab.extensions.downloads.places import data_folder
    from srlab.extensions.downloads.sets import download_set, find_set
    from srlab.extensions.downloads.showing import shown

    root = arguments.to or data_folder()
    if arguments.action == "list":
        print_sets(root)
        return
    for chosen in [find_set(name) for name in arguments.names]:
        with shown() as report:
            is_new = download_set(chosen.name, root, report=report)
        print(f"{chosen.name}: {'downloaded to' if is_new else 'is there already, in'} {root}")
        for terms in dict.fromkeys(each.terms for each in chosen.archives if is_new):
            print(f"  terms: {terms}")


def _print_overlaps(train: Sequence[Path], test: Sequence[Path], threshold: float | None) -> int:
    """Compare all images; returns how many training images overlap."""
    from srlab.extensions.overlap.search import THRESHOLD, find_overlaps

    files, tests = _images(train), _images(test)
    count = 0
    for path, overlaps in find_overlaps(
        files, tests, threshold=THRESHOLD if threshold is None else threshold
    ):
        count += bool(overlaps)
        for each in overlaps:
            print(f"{path} overlaps {each.test}: correlation {each.correlation:.2f}, scale {each.scale:.2f}")
    print(f"{count} of {len(files)} images overlap with one of {len(tests)} test images")
    return count


def _images(paths: Sequence[Path]) -> list[Path]:
    from srlab.data.sources import find_images

    found: list[Path] = []
    for path in paths:
        folder = () if path.is_file() else find_images(path, remedy="name images or a folder of them")
        found.extend(file.path for file in folder)
        found.extend([path] if path.is_file() else [])
    return list(dict.fromkeys(found))
