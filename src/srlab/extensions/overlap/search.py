"""Test images, or parts of them, among training images.

Set5 ``woman``, for example, is a part of a photograph of BSDS500's training set.

Local features (D. Lowe, "Distinctive image features from scale-invariant keypoints", IJCV 2004) find pairs of
images that may show the same and how one lies in the other: scale, turn and position, searched by RANSAC. The
normalised cross-correlation of the region that they share confirms it. Mirrored copies are found, too.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srlab.data.images import read_image

#: Normalised cross-correlation of detail from which on two regions show the same.
THRESHOLD = 0.5

Image = NDArray[np.float32]

# Images with more pixels are searched at half, a quarter, … of their size.
_MOST_PIXELS = 800_000
_MOST_FEATURES = 1000
# Lowe's test: the nearest feature must be nearer by this factor than the second.
_RATIO = 0.8
_FEWEST_MATCHES = 8
_LARGEST_MISS_PX = 3.0
# Regions with fewer pixels correlate by chance.
_SMALLEST_REGION = 24 * 24
_SCALES = (0.1, 10.0)


@dataclass(frozen=True)
class Overlap:
    """Two images that show the same, at least in part.

    Attributes:
        train: of the training images.
        test: of the test images.
        correlation: normalised cross-correlation of detail in the region that both show; 1 for equal ones.
        scale: size of the content in the test image over that in the training image.
    """

    train: Path
    test: Path
    correlation: float
    scale: float


@dataclass(frozen=True)
class _Features:
    """Gray values, positions (x, y) of the features, and their descriptors with length 1, (N, 128)."""

    image: Image
    reduction: float
    points: NDArray[np.float32]
    descriptors: Tensor


def find_overlaps(
    train: Iterable[Path], test: Sequence[Path], *, threshold: float = THRESHOLD
) -> Iterator[tuple[Path, list[Overlap]]]:
    """Each training image with the test images that it overlaps, in the order of ``train``.

    Args:
        train: image files.
        test: image files.
        threshold: smallest correlation of an overlap, in (0, 1].

    Raises:
        ValueError: an image cannot be read, ``test`` is empty, or the threshold is out of range.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"the threshold of the correlation must lie in (0, 1], got {threshold:g}")
    if not test:
        raise ValueError("there are no test images to compare with")
    pixels = {path: read_image(path) for path in test}
    equal = {_digest(image): path for path, image in pixels.items()}
    tests = {path: _features(image) for path, image in pixels.items()}
    for path in train:
        image = read_image(path)
        if (same := equal.get(_digest(image))) is not None:
            yield path, [Overlap(path, same, 1.0, 1.0)]
            continue
        best: dict[Path, Overlap] = {}
        for turned in (image, image[..., ::-1]):
            for overlap in _search(path, _features(turned), tests):
                if overlap.correlation >= max(threshold, best.get(overlap.test, overlap).correlation):
                    best[overlap.test] = overlap
        yield path, list(best.values())


def _search(path: Path, train: _Features, tests: dict[Path, _Features]) -> Iterator[Overlap]:
    if not len(train.points):
        return
    pooled = torch.cat([test.descriptors for test in tests.values()])
    owner = torch.repeat_interleave(torch.tensor([len(test.points) for test in tests.values()]))
    if len(pooled) < 2:
        return
    nearest = (train.descriptors @ pooled.T).topk(2, dim=1)
    # of vectors of length 1
    distances = (2 - 2 * nearest.values).clamp_min(0).sqrt()
    chosen = distances[:, 0] < _RATIO * distances[:, 1]
    first = nearest.indices[:, 0]
    start = 0
    for index, (test_path, test) in enumerate(tests.items()):
        own = (chosen & (owner[first] == index)).nonzero()[:, 0]
        if len(own) >= _FEWEST_MATCHES:
            pairs = train.points[own.numpy()], test.points[(first[own] - start).numpy()]
            if (overlap := _registered(path, test_path, train, test, pairs)) is not None:
                yield overlap
        start += len(test.points)


def _registered(
    path: Path,
    test_path: Path,
    train: _Features,
    test: _Features,
    pairs: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> Overlap | None:
    """The two images laid over each other; None if the matched features do not agree on how."""
    cv2.setRNGSeed(0)
    transform, inliers = cv2.estimateAffinePartial2D(*pairs, ransacReprojThreshold=_LARGEST_MISS_PX)
    if transform is None or inliers.sum() < _FEWEST_MATCHES:
        return None
    scale = math.hypot(transform[0, 0], transform[1, 0])
    if not _SCALES[0] <= scale <= _SCALES[1]:
        return None
    if scale > 1:  # compared at the smaller of the two sizes, to which the larger is reduced without aliasing
        fixed, moving, transform = train.image, test.image, cv2.invertAffineTransform(transform)
    else:
        fixed, moving = test.image, train.image
    moving = cv2.GaussianBlur(moving, (0, 0), max(0.3, 0.5 * max(scale, 1 / scale)))
    size = fixed.shape[1], fixed.shape[0]
    laid = cv2.warpAffine(moving, transform, size, flags=cv2.INTER_LINEAR)
    shared = cv2.warpAffine(np.ones_like(moving), transform, size, flags=cv2.INTER_NEAREST) > 0
    # its border is where detail of one image alone begins
    shared = cv2.erode(shared.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    if shared.sum() < _SMALLEST_REGION:
        return None
    first, second = ((each - cv2.GaussianBlur(each, (0, 0), 4.0))[shared] for each in (fixed, laid))
    correlation = float(np.corrcoef(first, second)[0, 1]) if first.std() > 0 < second.std() else 0.0
    return Overlap(path, test_path, correlation, scale * test.reduction / train.reduction)


def _features(image: NDArray[np.uint8]) -> _Features:
    gray = image.mean(axis=0, dtype=np.float32)
    reduction = 1.0
    while gray.size > _MOST_PIXELS and min(gray.shape) > 1:
        gray = np.asarray(cv2.resize(gray, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.float32)
        reduction *= 2
    detector: Any = cv2.SIFT.create(nfeatures=_MOST_FEATURES)
    points, descriptors = detector.detectAndCompute(gray.round().astype(np.uint8), None)
    found = np.zeros((0, 128), np.float32) if descriptors is None else descriptors
    unit = torch.from_numpy(found) / torch.from_numpy(found).norm(dim=1, keepdim=True).clamp_min(1e-6)
    return _Features(gray, reduction, np.array([each.pt for each in points], np.float32).reshape(-1, 2), unit)


def _digest(image: NDArray[np.uint8]) -> str:
    return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()
