"""Exports a network to a file of another run time; a file that differs from PyTorch is deleted."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch

from srlab.atomic_files import atomic_write
from srlab.extensions.export.formats import DTYPES, Format, find_format
from srlab.extensions.export.gate import Parity, measure_parity
from srlab.extensions.export.graphs import inference_copy
from srlab.models.network import Network
from srlab.runs.provenance import provenance


class Exported(NamedTuple):
    """What was written: how far it is from the network, and what it holds beside it."""

    parity: Parity
    metadata: Mapping[str, str]


def export_network(
    network: Network,
    path: str | Path,
    *,
    to: str,
    dtype: str = "float32",
    lr_size: tuple[int, int] | None = None,
    source: Mapping[str, str] | None = None,
) -> Exported:
    """Write ``network`` to ``path``; nothing is left there unless the file passes the gate.

    Args:
        network: on any device, with its weights.
        path: of the file; an OpenVINO file has a second one beside it, with the suffix ``.bin``.
        to: ``onnx``, ``openvino`` or ``pt2``.
        dtype: of weights and arithmetic, ``float32`` or ``float16``; images are float32 in both.
        lr_size: the only height and width of the low-resolution image; None: any, and any batch.
        source: more metadata, such as :func:`describe_source` gives.

    Raises:
        ValueError: a package is missing, the format cannot hold the network, or the file misses the gate.
    """
    form, path = find_format(to), Path(path)
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype}: files have {' or '.join(DTYPES)}")
    form.check_name(path)
    require_exportable(network, form, lr_size)
    form.require_packages()
    torch_dtype: torch.dtype = getattr(torch, dtype)
    content, kept = form.convert(inference_copy(network), dtype=torch_dtype, lr_size=lr_size)
    metadata = {
        **_describe(network, form, dtype, lr_size),
        "float32_operators": ", ".join(kept),
        **(source or {}),
    }
    with TemporaryDirectory() as folder:
        file = Path(folder) / f"network{form.suffix}"
        form.save(content, file, metadata)
        parity = measure_parity(network.eval(), form.open(file), lr_size=lr_size)
        parity.require(torch_dtype)
        metadata["parity"] = json.dumps(parity.as_dict())
        final = Path(folder) / f"final{form.suffix}"
        form.save(content, final, metadata)
        # the graph last: what it refers to must exist
        for made, wanted in reversed(list(zip(form.files(final), form.files(path), strict=True))):
            with atomic_write(wanted) as partial:
                shutil.copyfile(made, partial)
    return Exported(parity, metadata)


def describe_source(file: Path, description: Mapping[str, Any]) -> dict[str, str]:
    """Name and SHA-256 of a checkpoint's file, and the protocol of its validation, if it has one."""
    metadata = {"source": file.name, "source_sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    if description.get("protocol"):
        metadata["protocol"] = json.dumps(description["protocol"], default=str)
    return metadata


def require_exportable(network: Network, form: Format, lr_size: tuple[int, int] | None) -> None:
    """Raise a ValueError with the reason if the network declares that the format cannot hold it."""
    kinds = (form.name, *([f"{form.name} of any size"] if lr_size is None else []))
    for kind in kinds:
        if kind in network.unexportable:
            reason = network.unexportable[kind]
            raise ValueError(f"{type(network).__name__} cannot be written as {kind}: {reason}")


def _describe(network: Network, form: Format, dtype: str, lr_size: tuple[int, int] | None) -> dict[str, str]:
    made_by = provenance()
    versions = {name: made_by[name] for name in ("srlab", "commit")}
    versions |= {name: version(name) for name in ("torch", *form.packages)}
    return {
        "network": type(network).__name__,
        "scale": str(network.scale),
        "input": "lr_image: RGB in [0, 1], float32, (batch, 3, height, width)",
        "output": "sr_image: RGB, not clamped, float32, (batch, 3, scale * height, scale * width)",
        "dtype": dtype,
        "size": "any" if lr_size is None else "{}x{}".format(*lr_size),
        "versions": json.dumps(versions),
    }
