"""OpenVINO files: the ONNX graph in OpenVINO's own representation, ``.xml`` and ``.bin``."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from srlab.extensions.export.formats import Format, Runner, package
from srlab.extensions.export.onnx_files import traced
from srlab.models.network import Network

_SECTION = "srlab"


class OpenVinoFormat(Format):
    """An ``openvino.Model``; metadata are in the section ``srlab`` of its ``rt_info``.

    In float16 the weights are; which arithmetic runs them is the device's choice, on CPUs float32.
    """

    name = "openvino"
    suffix = ".xml"
    packages = ("onnx", "openvino")

    def convert(
        self, network: Network, *, dtype: torch.dtype, lr_size: tuple[int, int] | None
    ) -> tuple[Any, tuple[str, ...]]:
        """Trace to ONNX, and convert that."""
        onnx, openvino = package("onnx"), package("openvino")

        with TemporaryDirectory() as folder:
            file = Path(folder) / "network.onnx"
            onnx.save(traced(network, lr_size), str(file))
            model = openvino.convert_model(file)
        half = dtype == torch.float16
        return (model, half), (("arithmetic (weights alone are float16)",) if half else ())

    def save(self, content: Any, path: Path, metadata: Mapping[str, str]) -> None:
        """Write the graph to ``path`` and the weights beside it."""
        openvino = package("openvino")

        model, half = content
        for name, value in metadata.items():
            model.set_rt_info(value, [_SECTION, name])
        openvino.save_model(model, str(path), compress_to_fp16=half)

    def open(self, path: Path, threads: int | None = None) -> Runner:
        """Compiled for the CPU in float32, with subnormal numbers as zero."""
        openvino = package("openvino")

        options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "CPU_DENORMALS_OPTIMIZATION": True,
        }
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        request = openvino.Core().compile_model(str(path), "CPU", options).create_infer_request()
        return lambda pixels: request.infer([pixels])[0].copy()

    def metadata(self, path: Path) -> dict[str, str]:
        """The section's entries."""
        openvino = package("openvino")

        info = openvino.Core().read_model(str(path)).get_rt_info()
        return {name: str(value.value) for name, value in info[_SECTION].items()}

    def files(self, path: Path) -> tuple[Path, ...]:
        """Graph and weights."""
        return (path, path.with_suffix(".bin"))
