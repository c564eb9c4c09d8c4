"""A network in another run time, for the lab."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from srlab.extensions.export.formats import find_format
from srlab.extensions.export.graphs import inference_copy
from srlab.extensions.export.writing import require_exportable
from srlab.models.network import Network


def loaded(form: str, network: Network, threads: int) -> Callable[[Tensor], object]:
    """What runs the file that ``srlab export --to form`` writes in float32, for any size.

    Speed does not depend on the gate, which is for files that are kept.

    Raises:
        ValueError: a package is missing, or the format cannot hold the network.
    """
    kind = find_format(form)
    require_exportable(network, kind, None)
    kind.require_packages()
    content, _ = kind.convert(inference_copy(network), dtype=torch.float32, lr_size=None)
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"network{kind.suffix}"
        kind.save(content, path, {})
        run = kind.open(path, threads)
    return lambda lr_image: run(lr_image.numpy())
