"""Decoding many files on threads, in their order."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from srlab.data.images import decode_image
from srlab.data.pixels import DecodedImage
from srlab.data.sources import ImageFile

__all__ = ["decode_files"]

_THREADS = 4


def decode_files(
    files: Sequence[ImageFile], max_pixels: int
) -> Iterator[tuple[ImageFile, DecodedImage | ValueError]]:
    """Each file with its image or its fault.

    It decodes ahead by two images for each thread, never more, so that memory stays small.
    """
    remaining: Iterable[ImageFile] = iter(files)
    with ThreadPoolExecutor(_THREADS) as pool:
        ahead = islice(remaining, 2 * _THREADS)
        waiting = [(file, pool.submit(_decode, file.path, max_pixels)) for file in ahead]
        while waiting:
            file, future = waiting.pop(0)
            outcome = future.result()
            waiting += [
                (following, pool.submit(_decode, following.path, max_pixels))
                for following in islice(remaining, 1)
            ]
            yield file, outcome


def _decode(path: Path, max_pixels: int) -> DecodedImage | ValueError:
    try:
        return decode_image(path, max_pixels=max_pixels)
    except ValueError as error:
        return error
