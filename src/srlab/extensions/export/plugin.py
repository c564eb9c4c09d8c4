"""Registers ONNX Runtime and OpenVINO with the lab: ``srlab profile --backend auto,onnxruntime,openvino``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from srlab.models.network import Network

_FORMATS = {"onnxruntime": "onnx", "openvino": "openvino"}


def _load(form: str, network: Network, threads: int) -> Callable[[Tensor], object]:
    from srlab.extensions.export.measuring import loaded

    return loaded(form, network, threads)


if find_spec("srlab.extensions.lab") is not None:
    from srlab.extensions.lab.runtimes import RUN_TIMES, RunTime

    for _name, _form in _FORMATS.items():
        RUN_TIMES.register(_name, RunTime(_name, partial(_load, _form)))
