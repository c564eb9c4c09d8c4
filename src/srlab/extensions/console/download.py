"""Download weights by name; load_model, evaluate and upscale then find them by the same name.

Downloads resume where they were interrupted and are checked.

  srlab download --list
  srlab download elan_light_x4_friedricelab hit_srf_x4
  srlab download --clear
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add names, or what to do instead."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="of the list")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--list", action="store_true", help="print what there is, and under which terms")
    instead.add_argument("--clear", action="store_true", help="delete all downloaded files")


def run(arguments: argparse.Namespace) -> None:
    """Download, list or clear.

    Raises:
        ValueError: an unknown name, or what :func:`srlab.extensions.downloads.transfer.fetch` raises.
    """
    from srlab.extensions.downloads.catalogue import features, weights
    from srlab.extensions.downloads.listing import print_files
    from srlab.extensions.downloads.places import clear_downloads, downloads_folder
    from srlab.extensions.downloads.showing import shown
    from srlab.extensions.downloads.transfer import is_complete
    from srlab.extensions.downloads.weights import download_weights, find_weights, folder_of

    instead = arguments.list or arguments.clear
    if bool(arguments.names) == bool(instead):
        raise ValueError("name what to download, or give --list or --clear alone")
    if arguments.clear:
        print(f"deleted {clear_downloads() / 2**20:.1f} MiB in {downloads_folder()}")
        return
    if arguments.list:
        known = [*weights().values(), *features().values()]
        print_files(known, is_there=lambda each: is_complete(each, folder_of(each)))
        return
    for remote in [find_weights(name) for name in arguments.names]:
        with shown() as report:
            path = download_weights(remote.name, report=report)
        print(f"{remote.name}: {path} ({remote.terms})")
