"""Other run times that the lab measures beside PyTorch, under the names of back ends."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from srlab.extension_points import Registry
from srlab.models.network import Network


@dataclass(frozen=True)
class RunTime:
    """A program that runs networks by itself, on the CPU in float32.

    Attributes:
        name: what ``--backend`` takes.
        load: from a network and the number of threads to what runs an image, (B, 3, H, W) in [0, 1].

    ``load`` raises a ValueError where the network cannot be run so.
    """

    name: str
    load: Callable[[Network, int], Callable[[Tensor], object]]


RUN_TIMES: Registry[RunTime] = Registry("run time")


def find_run_time(backend: str | None) -> RunTime | None:
    """The run time of that name, if it is one."""
    return None if backend is None else RUN_TIMES.get(backend)
