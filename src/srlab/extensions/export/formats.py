"""The interface of all formats, and the error for those that are not installed."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray

from srlab.extensions.optional_packages import import_optional, require_packages
from srlab.models.network import Network

#: Runs a file: (B, 3, H, W) float32 in [0, 1] to (B, 3, scale * H, scale * W) float32.
Runner = Callable[[NDArray[Any]], NDArray[Any]]

DTYPES = ("float32", "float16")


class Format(ABC):
    """A kind of file: how it is made, and how its own run time runs it."""

    name: ClassVar[str]
    suffix: ClassVar[str]
    #: Distributions beyond srlab's own dependencies.
    packages: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def convert(
        self, network: Network, *, dtype: torch.dtype, lr_size: tuple[int, int] | None
    ) -> tuple[Any, tuple[str, ...]]:
        """The file's content, and what it keeps in float32.

        Args:
            network: from :func:`srlab.extensions.export.graphs.inference_copy`; it may be changed.
            dtype: float32 or float16.
            lr_size: the only height and width, with a batch of 1; None: any batch, height and width.

        Raises:
            ValueError: the format cannot hold this network in this way.
        """

    @abstractmethod
    def save(self, content: Any, path: Path, metadata: Mapping[str, str]) -> None:
        """Write ``content`` with ``metadata``, which replaces earlier metadata."""

    @abstractmethod
    def open(self, path: Path, threads: int | None = None) -> Runner:
        """The file in its own run time on the CPU; ``threads`` None: as the run time chooses."""

    @abstractmethod
    def metadata(self, path: Path) -> dict[str, str]:
        """What :meth:`save` wrote beside the network."""

    def files(self, path: Path) -> tuple[Path, ...]:
        """All files that belong to ``path``."""
        return (path,)

    def check_name(self, path: Path) -> None:
        """Raise a ValueError unless ``path`` ends as files of this format do."""
        if path.suffix != self.suffix:
            raise ValueError(f"--out must end in {self.suffix} for --to {self.name}, got {path.name}")

    def require_packages(self) -> None:
        """Raise a ValueError that names the extra unless the packages are installed."""
        require_packages(self.packages, purpose=f"--to {self.name}", extra="export")


def package(name: str) -> Any:
    """A module of the extra ``export``."""
    return import_optional(name, purpose="exporting", extra="export")


def find_format(name: str) -> Format:
    """The format called ``onnx``, ``openvino`` or ``pt2``; its packages need not be installed.

    Raises:
        ValueError: another name.
    """
    from srlab.extensions.export.onnx_files import OnnxFormat
    from srlab.extensions.export.openvino_files import OpenVinoFormat
    from srlab.extensions.export.pt2_files import Pt2Format

    known = {each.name: each for each in (OnnxFormat, OpenVinoFormat, Pt2Format)}
    if name not in known:
        raise ValueError(f"unknown format {name!r}; choose one of {', '.join(known)}")
    return known[name]()
