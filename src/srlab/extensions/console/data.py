"""Download data sets to where data=div2k, df2k and benchmark read them.

Downloads resume where they broke off and are checked. Sets that are there are left as they are.

  srlab data list
  srlab data download div2k set5 urban100
  srlab data download flickr2k --to /disk/data
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what to do with which sets."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    download = actions.add_parser("download", help="download and unpack sets", allow_abbrev=False)
    download.add_argument("names", nargs="+", metavar="NAME", help="such as div2k, flickr2k or set5")
    listing = actions.add_parser(
        "list", help="print which sets there are, and their terms", allow_abbrev=False
    )
    for each in (download, listing):
        each.add_argument("--to", type=Path, metavar="FOLDER", help="default: SRLAB_DATA, or data")


def run(arguments: argparse.Namespace) -> None:
    """Download or list.

    Raises:
        ValueError: an unknown set, or what :func:`srlab.extensions.downloads.sets.download_set` raises.
    """
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
