"""Which images a run learns from: a resumed run draws other samples if one came, went or changed."""

import logging
from collections.abc import Mapping, Sequence

from srlab.data.evaluation import EvaluationSet
from srlab.data.store import ImageStore

__all__ = ["check_same_images", "evaluation_identity", "identity"]

log = logging.getLogger(__name__)

Identity = Mapping[str, str]
"""Digests of pixels by image name, in the order in which samples count the images."""

_MOST_NAMED = 3


def identity(store: ImageStore, numbers: Sequence[int]) -> dict[str, str]:
    """Of these images of a store."""
    return {store.images[number].name: store.images[number].digest for number in numbers}


def evaluation_identity(images: EvaluationSet) -> dict[str, str]:
    """The same for a validation set, LR files among it."""
    hr_images = identity(images.store, images.images)
    if images.lr_store is None:
        return hr_images
    lr_images = (images.lr_store.images[number].digest for number in images.lr_images)
    return {name: f"{hr} {lr}" for (name, hr), lr in zip(hr_images.items(), lr_images, strict=True)}


def check_same_images(before: Mapping[str, Identity], now: Mapping[str, Identity], *, accept: bool) -> None:
    """Compare the images of a checkpoint with those that are here.

    Args:
        before: identities by what they are for (``training``, …).
        now: the same.
        accept: warn of a difference instead of refusing it.

    Raises:
        ValueError: naming what differs.
    """
    uses = [*before, *(use for use in now if use not in before)]
    differences = [_difference(use, before.get(use, {}), now.get(use, {})) for use in uses]
    differences = [difference for difference in differences if difference]
    if not differences:
        return
    told = "; ".join(differences)
    if accept:
        log.warning("going on with other images than before: %s", told)
        return
    raise ValueError(
        f"these are not the images that the run was started with, so that it would draw other samples: "
        f"{told}; put the images back, or go on with those that are here by data.accept_changed_images=true"
    )


def _difference(use: str, before: Identity, now: Identity) -> str:
    kinds = {
        "no longer there": [name for name in before if name not in now],
        "new": [name for name in now if name not in before],
        "changed": [name for name in now if name in before and now[name] != before[name]],
    }
    told = [f"{len(names)} {kind} ({_some(names)})" for kind, names in kinds.items() if names]
    if not told and list(before) != list(now):
        told = ["in another order"]
    return f"{use}: {', '.join(told)}" if told else ""


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else "")
