"""Counts the operations of a forward pass, from shapes on the meta device."""

import copy
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from srlab.models.network import AttentionNetwork, Network

# Matrix products by the position of their left factor, which the right one follows.
_PRODUCTS: dict[str, int] = dict.fromkeys(("aten.mm", "aten.bmm", "aten.mv", "aten.dot"), 0)
_PRODUCTS |= dict.fromkeys(("aten.addmm", "aten.baddbmm", "aten.addmv"), 1)
_CONVOLUTION = "aten.convolution"

# Adds the product of two tensors: a back end may sum up a matrix product term by term.
_MULTIPLY_ADD = "aten.addcmul"

# Views that their signature does not mark as such.
_UNDECLARED_VIEWS = ("_unsafe_view", "squeeze_", "unsqueeze_", "transpose_")


class Call(NamedTuple):
    """One call of an operator that computes or moves something; views do not count.

    Attributes:
        operation: its name without the overload and the underscore of in-place operators: ``aten.add``.
        arguments: with tensors replaced by their shapes.
        result: shape of the first result.
    """

    operation: str
    arguments: tuple[Any, ...]
    result: torch.Size


def record_calls(network: Network, lr_size: tuple[int, int], *, backend: str | None) -> list[Call]:
    """The calls of restoring one image of ``lr_size`` (height, width) in evaluation mode.

    Fused attention is recorded as its two matrix products. The network is left as it was.

    Args:
        network: any.
        lr_size: height and width of the low-resolution image.
        backend: the attention's implementation; None for a network that has no choice.
    """
    replica = _on_meta(network).eval()
    if backend is not None:
        assert isinstance(replica, AttentionNetwork)
        replica.use_backend(backend)
    recorder = _Recorder()
    # Inference mode would not decompose composite operators; no_grad does.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), recorder:
        replica(torch.empty(1, 3, *lr_size, device="meta"))
    return recorder.calls


def is_convolution(call: Call) -> bool:
    """Of any kind, transposed ones included."""
    return call.operation == _CONVOLUTION


def is_product(call: Call) -> bool:
    """Of two matrices, batches of matrices or a matrix and a vector."""
    return call.operation in _PRODUCTS


def multiply_adds_of(call: Call) -> int:
    """Of a convolution, a matrix product or an ``addcmul``, without the bias; 0 for everything else."""
    if is_convolution(call):
        image, weight, transposed = call.arguments[0], call.arguments[1], call.arguments[6]
        return (image if transposed else call.result).numel() * weight[1:].numel()
    if is_product(call):
        at = _PRODUCTS[call.operation]
        left, right = call.arguments[at : at + 2]
        return left.numel() * (right[-1] if len(right) > 1 else 1)
    return call.result.numel() if call.operation == _MULTIPLY_ADD else 0


def uncounted_operations(calls: Iterable[Call]) -> dict[str, int]:
    """Operators that have no multiply-adds, and how many elements all their results have, the most first."""
    elements = Counter[str]()
    for call in calls:
        if not (is_convolution(call) or is_product(call) or call.operation == _MULTIPLY_ADD):
            elements[call.operation] += call.result.numel()
    return dict(elements.most_common())


class _Recorder(TorchDispatchMode):
    """Keeps every call below autograd, in order.

    torch decomposes most operators in Python to find the shape of a result, which takes a millisecond; equal
    calls, of which a network has many, are answered from memory.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self._results: dict[Any, Any] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = self._result(func, args, kwargs or {})
        namespace, name = func.overloadpacket._qualified_op_name.split("::")
        if namespace not in ("aten", "prims", "prim"):
            raise ValueError(
                f"operator {namespace}.{name} cannot be counted: the arithmetic of operators that are not "
                "PyTorch's own is unknown; count with another backend, such as reference"
            )
        first = result[0] if isinstance(result, (tuple, list)) else result
        if isinstance(first, Tensor) and not _is_bookkeeping(func, name, args):
            shapes = tuple(argument.shape if isinstance(argument, Tensor) else argument for argument in args)
            in_place = name.endswith("_") and not name.endswith("__")
            operation = f"{namespace}.{name[:-1] if in_place else name}"
            self.calls.append(Call(operation, shapes, first.shape))
        return result

    def _result(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What ``func`` returns, new tensors for each call."""
        is_pure = all(value.alias_info is None for value in (*func._schema.arguments, *func._schema.returns))
        key = _described((func, args, tuple(kwargs.items()))) if is_pure else None
        if key is not None and key in self._results:
            return tree_map_only(Tensor, _like, self._results[key])
        result = func(*args, **kwargs)
        if key is not None and all(each.is_meta for each in tree_leaves(result) if isinstance(each, Tensor)):
            self._results[key] = result
        return result


def _described(value: Any) -> Any:
    """What decides the shape of a result, as a key; None where the values of a tensor may."""
    if isinstance(value, Tensor):
        return (value.shape, value.stride(), value.dtype) if value.is_meta else None
    if isinstance(value, (tuple, list)):
        parts = tuple(map(_described, value))
        return None if None in parts else parts
    return (type(value), value)  # 1 and 1.0 are equal


def _like(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


def _is_bookkeeping(func: Callable[..., Any], name: str, args: tuple[Any, ...]) -> bool:
    """Whether the call only makes a view, or a constant from no tensor."""
    returns = func._schema.returns  # type: ignore[attr-defined]
    views = any(value.alias_info is not None and not value.alias_info.is_write for value in returns)
    flat = [item for value in args for item in (value if isinstance(value, (list, tuple)) else [value])]
    return views or name in _UNDECLARED_VIEWS or not any(isinstance(item, Tensor) for item in flat)


def _on_meta(network: Network) -> Network:
    """A copy whose parameters and buffers are float32 shapes without memory."""
    shapes: dict[int, Any] = {id(buffer): _shape_of(buffer) for buffer in network.buffers()}
    for parameter in network.parameters():
        shapes[id(parameter)] = nn.Parameter(_shape_of(parameter), requires_grad=parameter.requires_grad)
    return copy.deepcopy(network, shapes)  # as a memo: tensors that it holds are not copied


def _shape_of(tensor: Tensor) -> Tensor:
    dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
    return torch.empty_like(tensor, dtype=dtype, device="meta")
