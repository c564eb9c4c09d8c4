"""Files of torch.export, run by PyTorch alone: ``torch.export.load(FILE).module()``."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from srlab.extensions.export.formats import Format, Runner
from srlab.extensions.export.graphs import Graph
from srlab.models.network import Network
from srlab.ops.subnormals import flush_subnormals

_ENTRY = "srlab.json"
_LARGEST_SIDE = 65536
_EXAMPLE_BATCH, _EXAMPLE_SIZE = 2, (35, 37)


class Pt2Format(Format):
    """An ``ExportedProgram``; metadata are its extra file ``srlab.json``."""

    name = "pt2"
    suffix = ".pt2"

    def convert(
        self, network: Network, *, dtype: torch.dtype, lr_size: tuple[int, int] | None
    ) -> tuple[Any, tuple[str, ...]]:
        """Export; in float16 all weights are, and soft-maxes are computed in float32."""
        if dtype == torch.float16 and network.beyond_float16:
            raise ValueError(
                f"{type(network).__name__} cannot be a pt2 file in float16: {network.beyond_float16}; "
                "--to onnx keeps that part in float32"
            )
        graph = (Graph if lr_size is not None else _AnySize)(network.to(dtype))
        batch, size = (1, lr_size) if lr_size is not None else (_EXAMPLE_BATCH, _EXAMPLE_SIZE)
        dynamic = torch.export.Dim.DYNAMIC
        shapes = None if lr_size is not None else ({0: dynamic, 2: dynamic, 3: dynamic},)
        with torch.no_grad():
            try:
                program = torch.export.export(
                    graph, (torch.rand(batch, 3, *size),), dynamic_shapes=shapes, strict=False
                )
            except RuntimeError as error:  # decisions on sizes are such
                reason = str(error).strip().splitlines()[0]
                remedy = "" if lr_size is not None else "; give one --size"
                raise ValueError(
                    f"{type(network).__name__} cannot be written as pt2: {reason}{remedy}"
                ) from error
        return program, (("logits and soft-max of attention",) if dtype == torch.float16 else ())

    def save(self, content: Any, path: Path, metadata: Mapping[str, str]) -> None:
        """Write one file."""
        torch.export.save(content, path, extra_files={_ENTRY: json.dumps(dict(metadata))})

    def open(self, path: Path, threads: int | None = None) -> Runner:
        """The program in PyTorch.

        Raises:
            ValueError: ``threads`` is not the number that PyTorch uses.
        """
        if threads not in (None, torch.get_num_threads()):
            raise ValueError(f"PyTorch uses {torch.get_num_threads()} threads; set {threads} there first")
        module = torch.export.load(path).module()

        def run(pixels: Any) -> Any:
            with torch.inference_mode(), flush_subnormals():
                return np.ascontiguousarray(module(torch.from_numpy(pixels)).numpy())

        return run

    def metadata(self, path: Path) -> dict[str, str]:
        """The extra file."""
        extra: dict[str, Any] = {_ENTRY: ""}
        torch.export.load(path, extra_files=extra)
        return json.loads(extra[_ENTRY])


class _AnySize(Graph):
    """Batch and sides become new symbols behind the padding, about which nothing must be proven.

    Their multiples of ``size_multiple`` are all that windows need. Written in terms of the image's own sides,
    every reshape would be compared with every other, and some comparisons would exclude a batch of 1.
    """

    def forward(self, lr_image: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to (B, 3, scale * H, scale * W), not clamped."""
        network, multiple = self.network, self.network.size_multiple
        batch, _, height, width = lr_image.shape
        image = lr_image.index_select(0, torch.arange(_new_symbol(batch)))
        for axis, side in ((2, height), (3, width)):
            period = torch.sym_max(2 * side - 2, 1)
            position = torch.arange(_new_symbol(-(-side // multiple)) * multiple) % period
            image = image.index_select(axis, torch.minimum(position, period - position))
        sr_image = super().forward(image)
        rows, columns = (torch.arange(side * network.scale) for side in (height, width))
        return sr_image.index_select(2, rows).index_select(3, columns)


def _new_symbol(value: Any) -> Any:
    """An integer of that value that the exporter cannot trace back to it."""
    symbol = torch.full((), value, dtype=torch.int64).item()
    torch._check(symbol >= 1)
    torch._check(symbol <= _LARGEST_SIDE)
    return symbol
