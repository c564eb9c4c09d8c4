"""Ways to run a network: eagerly, compiled by torch, or by what an extension registers here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from srlab.extension_points import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from srlab.models.network import Network


@dataclass(frozen=True)
class Runtime:
    """One value of ``srlab profile --compile``.

    Attributes:
        name: the value.
        make: from a network and its input (B, 3, H, W), both on the device and in the dtype that are
            measured, to the function of that input which is timed; the network is in training mode where
            steps are measured. A ValueError says why it cannot run; the others are still measured.
    """

    name: str
    make: "Callable[[Network, Tensor], Callable[[Tensor], Any]]"


RUNTIMES: Registry[Runtime] = Registry("runtime")


def _torch_runtime(mode: str) -> Runtime:
    def make(network: "Network", lr_image: "Tensor") -> "Callable[[Tensor], Any]":
        import torch

        if mode in ("reduce-overhead", "max-autotune") and lr_image.device.type != "cuda":
            raise ValueError(
                f"compile mode {mode} replays CUDA graphs, which {lr_image.device} does not have; use "
                "default or max-autotune-no-cudagraphs"
            )
        # not dynamic: one size is measured at a time, with code for that size alone
        return network if mode == "eager" else torch.compile(network, mode=mode, dynamic=False)

    return Runtime(mode, make)


for _mode in ("eager", "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"):
    RUNTIMES.register(_mode, _torch_runtime(_mode))
