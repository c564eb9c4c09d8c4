"""Other programs that run networks, which the lab measures beside PyTorch under the names of back ends."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from srlab.extension_points import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from srlab.models.network import Network


@dataclass(frozen=True)
class RunTime:
    """A program that runs networks by itself, on the CPU in float32.

    Attributes:
        name: what ``--backend`` takes.
        load: from a network and the number of threads to what runs an image, (B, 3, H, W) in [0, 1]. It
            raises a ValueError where the network cannot be run so; others are still measured.
    """

    name: str
    load: "Callable[[Network, int], Callable[[Tensor], object]]"


RUN_TIMES: Registry[RunTime] = Registry("run time")


def find_run_time(backend: str | None) -> RunTime | None:
    """The run time of that name, if it is one."""
    return None if backend is None else RUN_TIMES.get(backend)
