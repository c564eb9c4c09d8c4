"""ONNX files, run by ONNX Runtime.

The graph is traced by PyTorch's TorchScript exporter. The newer one (``dynamo=True``) reasons about the sizes
as symbols, which takes minutes for networks with windows and rules out a batch of 1 (docs/export.md).
"""

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from srlab.extensions.export.float16 import with_float16
from srlab.extensions.export.formats import Format, Runner, package
from srlab.extensions.export.graphs import INPUT, OUTPUT, Graph
from srlab.models.network import Network
from srlab.ops.subnormals import flush_subnormals

_OPSET = 17  # the first with LayerNormalization
_PREFIX = "srlab."
# A size that every axis of which differs, so that no axis is taken for another.
_TRACED_BATCH, _TRACED_SIZE = 2, (35, 37)


class OnnxFormat(Format):
    """A ``ModelProto``; metadata are its ``metadata_props`` with the prefix ``srlab.``."""

    name = "onnx"
    suffix = ".onnx"
    packages = ("onnx", "onnxruntime")

    def convert(
        self, network: Network, *, dtype: torch.dtype, lr_size: tuple[int, int] | None
    ) -> tuple[Any, tuple[str, ...]]:
        """Trace; for float16 convert weights and operators, except those of :mod:`.float16`."""
        model = traced(network, lr_size)
        if dtype == torch.float16:
            return with_float16(model, network.float32_modules)
        return model, ()

    def save(self, content: Any, path: Path, metadata: Mapping[str, str]) -> None:
        """Write one file, weights inside."""
        onnx = package("onnx")
        del content.metadata_props[:]
        onnx.helper.set_model_props(
            content, {_PREFIX + name: value for name, value in sorted(metadata.items())}
        )
        onnx.save(content, str(path))

    def open(self, path: Path, threads: int | None = None) -> Runner:
        """A session on the CPU that treats subnormal numbers as zero, as the lab does in PyTorch."""
        onnxruntime = package("onnxruntime")

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        if threads is not None:
            options.intra_op_num_threads = threads
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
        with flush_subnormals():  # the option changes this thread's mode and leaves it so
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

        def run(pixels: Any) -> Any:
            with flush_subnormals():
                return session.run([OUTPUT], {INPUT: pixels})[0]

        return run

    def metadata(self, path: Path) -> dict[str, str]:
        """Those with our prefix, without it."""
        onnx = package("onnx")
        properties = onnx.load(str(path), load_external_data=False).metadata_props
        return {
            each.key.removeprefix(_PREFIX): each.value for each in properties if each.key.startswith(_PREFIX)
        }


def traced(network: Network, lr_size: tuple[int, int] | None) -> Any:
    """The ``onnx.ModelProto`` of a network in float32.

    Raises:
        ValueError: an operator that the exporter does not know.
    """
    onnx = package("onnx")

    batch, size = (_TRACED_BATCH, _TRACED_SIZE) if lr_size is None else (1, lr_size)
    axes = {0: "batch", 2: "height", 3: "width"}
    sr_axes = {0: "batch", 2: "sr_height", 3: "sr_width"}
    buffer: Any = io.BytesIO()  # annotated as a path alone
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of branches on sizes; the gate runs other sizes than the traced one
        try:
            torch.onnx.export(
                Graph(network),
                (torch.rand(batch, 3, *size),),
                buffer,
                dynamo=False,
                opset_version=_OPSET,
                training=torch.onnx.TrainingMode.PRESERVE,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_axes={INPUT: axes, OUTPUT: sr_axes} if lr_size is None else None,
            )
        except (RuntimeError, TypeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ValueError(f"{type(network).__name__} cannot be written as ONNX: {reason}") from error
    return onnx.load_from_string(buffer.getvalue())
