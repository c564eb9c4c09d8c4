"""The fewest operations and bytes that restoring an image takes, and the time that a device's ceilings allow.

Operations are two for each multiply-add of convolutions and matrix products; what else a network computes
(normalisation, soft-max, activation functions) is left out, so the bound is one from below. Bytes are counted
twice over:

- *compulsory*: the weights once, the image, the result: all that must pass if every layer's activations
  stay in the caches;
- *layer by layer*: each operator reads its arguments once and writes its results once; views are free, and
  fused attention is one operator whose maps are never memory.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from srlab.counts.complexity import counted_backend, extra_multiply_adds
from srlab.counts.operations import multiply_adds_of, record_calls
from srlab.extensions.lab.ceilings import Ceilings
from srlab.models.network import AttentionNetwork, Network

__all__ = ["Needs", "Roofline", "executed_by", "fewest_needs", "layer_bytes", "roofline"]

# Operators that write their first argument without reading it.
_OVERWRITES = ("aten::copy_", "aten::fill_", "aten::zero_")


class Needs(NamedTuple):
    """What one image takes at least.

    Attributes:
        multiply_adds: the fewest over the official count and what each back end executes.
        multiply_adds_of: where they were counted: ``official`` or a back end; None if there is no choice.
        compulsory_bytes: weights, image and result.
        layer_bytes: operators' arguments and results, the fewest over back ends.
        layer_bytes_of: the back end where they were counted; None if there is no choice.
    """

    multiply_adds: int
    multiply_adds_of: str | None
    compulsory_bytes: int
    layer_bytes: int
    layer_bytes_of: str | None


@dataclass(frozen=True)
class Roofline:
    """Of one network in one dtype: what it needs, and the time that the ceilings allow for that.

    Attributes:
        model: which network.
        dtype: of weights and activations.
        needs: for one image.
        least_ms: of a batch, the larger of operations at the matrix rate and compulsory bytes at the copy
            rate.
        least_layer_ms: likewise with the bytes of layer by layer.
        limited_by: ``operations`` or ``bytes``, in ``least_layer_ms``.
        times_the_least: for each subject, its median time over ``least_ms``.
        times_the_layer_least: likewise over ``least_layer_ms``.
    """

    model: str
    dtype: str
    needs: Needs
    least_ms: float
    least_layer_ms: float
    limited_by: str
    times_the_least: Mapping[str, float]
    times_the_layer_least: Mapping[str, float]


def executed_by(network: Network, lr_size: tuple[int, int], backend: str | None) -> int:
    """Multiply-adds of one image of ``lr_size`` (height, width) with ``backend``, None for no choice."""
    if isinstance(network, AttentionNetwork):
        assert backend is not None
        backend = counted_backend(network, backend)
    return sum(map(multiply_adds_of, record_calls(network, lr_size, backend=backend)))


def fewest_needs(network: Network, lr_size: tuple[int, int], dtype: torch.dtype) -> Needs:
    """Of one image of ``lr_size`` (height, width), activations and weights in ``dtype``."""
    backends = _countable_backends(network)
    counts = {backend: executed_by(network, lr_size, backend) for backend in backends}
    # the official formulation is counted with the back end "reference", and what that leaves out is added
    official = counts.get("reference", counts[backends[0]]) + extra_multiply_adds(network, lr_size)
    if "reference" in counts:
        counts = {"official": official, **counts}
    traffic = {backend: layer_bytes(network, lr_size, dtype, backend) for backend in backends}
    fewest, least = min(counts, key=lambda each: counts[each]), min(traffic, key=lambda each: traffic[each])
    weights = sum(parameter.numel() for parameter in network.parameters())
    pixels = 3 * lr_size[0] * lr_size[1]
    return Needs(
        multiply_adds=counts[fewest],
        multiply_adds_of=fewest,
        compulsory_bytes=(weights + pixels + pixels * network.scale**2) * dtype.itemsize,
        layer_bytes=traffic[least],
        layer_bytes_of=least,
    )


def layer_bytes(network: Network, lr_size: tuple[int, int], dtype: torch.dtype, backend: str | None) -> int:
    """Bytes that operators read and write while they restore one image of ``lr_size``, from shapes alone.

    It is not the first: masks and expanded biases are there.
    """
    replica = copy.deepcopy(network).to(device="meta", dtype=dtype).eval()
    if backend is not None:
        assert isinstance(replica, AttentionNetwork)
        replica.use_backend(backend)
    counter, image = _TrafficCounter(), torch.empty(1, 3, *lr_size, device="meta", dtype=dtype)
    # in inference mode composite operators arrive whole, as one that reads and writes once
    with torch.inference_mode():
        replica(image)
        with counter:
            replica(image)
    return counter.total


def roofline(
    *,
    model: str,
    needs: Needs,
    batch: int,
    ceilings: Ceilings,
    median_ms: Mapping[str, float],
) -> Roofline:
    """Set what a network needs against the ceilings, and the subjects' median times against both."""
    bytes_per_ms, operations_per_ms = ceilings.copy_gb_per_s * 1e6, ceilings.matrix_gflop_per_s * 1e6
    operations_ms = 2 * needs.multiply_adds * batch / operations_per_ms
    layer_ms = needs.layer_bytes * batch / bytes_per_ms
    least_ms = max(operations_ms, needs.compulsory_bytes * batch / bytes_per_ms)
    least_layer_ms = max(operations_ms, layer_ms)
    return Roofline(
        model=model,
        dtype=ceilings.dtype,
        needs=needs,
        least_ms=least_ms,
        least_layer_ms=least_layer_ms,
        limited_by="bytes" if layer_ms > operations_ms else "operations",
        times_the_least={label: time / least_ms for label, time in median_ms.items()},
        times_the_layer_least={label: time / least_layer_ms for label, time in median_ms.items()},
    )


def _countable_backends(network: Network) -> Sequence[str | None]:
    """Back ends that execute PyTorch's own operators, or None alone where there is no choice."""
    if not isinstance(network, AttentionNetwork):
        return (None,)
    return tuple(dict.fromkeys(counted_backend(network, backend) for backend in network.backends))


class _TrafficCounter(TorchDispatchMode):
    """Adds up bytes of arguments and results; views and descriptions of memory are free."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        read, written = list(_tensors((args, kwargs or {}))), list(_tensors(result))
        storages = {_storage(tensor) for tensor in read}
        if func._schema.is_mutable:
            overwrites = func.overloadpacket._qualified_op_name in _OVERWRITES
            self.total += sum(map(_bytes, read[1:] if overwrites else read)) + sum(map(_bytes, written))
        elif "empty" not in func.overloadpacket.__name__:  # which reserves memory and writes nothing
            new = [tensor for tensor in written if _storage(tensor) not in storages]
            if new:
                self.total += sum(map(_bytes, read)) + sum(map(_bytes, new))
        return result


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _bytes(tensor: Tensor) -> int:
    """Of its elements; one that is expanded is read where it lies, once."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())
