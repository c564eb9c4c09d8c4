"""Which images a run learns from: if one was added, removed or changed, a resumed run draws other samples."""

import logging
from collections.abc import Mapping, Sequence

log = logging.getLogger(__name__)

Identity = Mapping[str, str]
"""Hashes of pixels by image name, in the order in which samples count the images."""

_MOST_NAMED = 3


def check_same_images(before: Mapping[str, Identity], now: Mapping[str, Identity], *, accept: bool) -> None:
    """Compare the images of a checkpoint with those on the disk, by use (``training``, …).

    Raises:
        ValueError: naming what differs; with ``accept`` this is a warning.
    """
    differences = [_difference(use, before.get(use, {}), now.get(use, {})) for use in {**before, **now}]
    found = "; ".join(difference for difference in differences if difference)
    if found and not accept:
        raise ValueError(
            "these are not the images that the run was started with, so it would draw other samples: "
            f"{found}; put the images back, or continue with these by data.accept_changed_images=true"
        )
    if found:
        log.warning("continuing with other images than before: %s", found)


def _difference(use: str, before: Identity, now: Identity) -> str:
    kinds = {
        "missing": [name for name in before if name not in now],
        "new": [name for name in now if name not in before],
        "changed": [name for name in now if name in before and now[name] != before[name]],
    }
    found = [f"{len(names)} {kind} ({_some(names)})" for kind, names in kinds.items() if names]
    if not found and list(before) != list(now):
        found = ["in another order"]
    return f"{use}: {', '.join(found)}" if found else ""


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else "")
