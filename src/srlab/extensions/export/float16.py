"""ONNX graphs in float16, except operators whose values exceed its range or whose rounding costs most.

ONNX Runtime's converter does the work; this module chooses what stays in float32: soft-maxes with the
products that make their logits (ELAN's reach 1e6), norms, means over pixels, modules that a network names.
"""

import re
from collections.abc import Iterator
from typing import Any

from srlab.extensions.export.formats import package

# Kinds of operators that stay in float32, wherever they are.
_KINDS = ("Softmax", "LayerNormalization", "ReduceMean", "GlobalAveragePool", "Range")
# Between a product and the soft-max of its logits.
_ELEMENTWISE = ("Add", "Mul", "Div", "Sub", "Cast", "Where")


def with_float16(model: Any, float32_modules: str) -> tuple[Any, tuple[str, ...]]:
    """A graph whose input and output stay float32, and what it keeps in float32.

    Args:
        model: ``onnx.ModelProto`` in float32.
        float32_modules: regular expression, see :attr:`srlab.models.network.Network.float32_modules`.
    """
    converter = package("onnxruntime.transformers.float16")

    nodes = {output: node for node in model.graph.node for output in node.output}
    kept = {name for node in model.graph.node if node.op_type == "Softmax" for name in _logits(node, nodes)}
    described = [*_KINDS, "MatMul before Softmax"]
    if float32_modules:
        kept |= {node.name for node in model.graph.node if _is_inside(node.name, float32_modules)}
        kept |= _between(model.graph.node, kept, nodes)
        described.append(f"modules {float32_modules}")
    converted = converter.convert_float_to_float16(
        model,
        keep_io_types=True,
        op_block_list=[*converter.DEFAULT_OP_BLOCK_LIST, *_KINDS],
        node_block_list=sorted(kept),
    )
    _skip_round_trips(converted, kept)
    return converted, tuple(described)


def _logits(softmax: Any, producers: dict[str, Any]) -> Iterator[str]:
    """Names of the operators from the matrix product to the soft-max."""
    waiting = list(softmax.input)
    while waiting:
        node = producers.get(waiting.pop())
        if node is None or node.op_type not in (*_ELEMENTWISE, "MatMul"):
            continue
        yield node.name
        if node.op_type != "MatMul":
            waiting += node.input


def _is_inside(name: str, modules: str) -> bool:
    """Whether a component of an operator's path, such as ``/body/norm1/Mul``, is such a module."""
    return any(re.fullmatch(modules, part) for part in name.split("/")[:-1])


def _between(graph_nodes: Any, kept: set[str], producers: dict[str, Any]) -> set[str]:
    """Operators from kept ones to kept ones and to no others, such as the cut of a padding."""
    readers: dict[str, set[str]] = {}
    below: set[str] = set()
    for node in graph_nodes:  # each after those that it reads
        for name in node.input:
            readers.setdefault(name, set()).add(node.name)
        if any(name in producers and producers[name].name in kept | below for name in node.input):
            below.add(node.name)
    found: set[str] = set()
    for node in reversed(graph_nodes):
        read_by = set().union(*(readers.get(name, set()) for name in node.output))
        if node.name in below - kept and read_by and read_by <= kept | found:
            found.add(node.name)
    return found


def _skip_round_trips(model: Any, kept: set[str]) -> None:
    """Let operators in float32 read one another's results: the converter rounds some of them to float16."""
    types = package("onnx").TensorProto

    casts = {
        node.output[0]: (node.input[0], node.attribute[0].i)
        for node in model.graph.node
        if node.op_type == "Cast"
    }
    in_float32 = {output for node in model.graph.node if node.name in kept for output in node.output}
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            outer, target = casts.get(name, ("", None))
            inner, middle = casts.get(outer, ("", None))
            if (target, middle) == (types.FLOAT, types.FLOAT16) and inner in in_float32:
                node.input[index] = inner
