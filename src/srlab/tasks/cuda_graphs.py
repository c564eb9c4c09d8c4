"""CUDA graphs of networks: one launch for all kernels of an image, one graph for each bucket of sizes."""

import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from srlab.layers.at_rest import KeptAtRest, kept_in_captures
from srlab.models.network import AttentionNetwork, Network, require_image, require_integer
from srlab.ops.padding import pad_to_multiple

__all__ = ["Capture", "CudaCapture", "GraphedNetwork", "Recording", "require_cuda"]

log = logging.getLogger(__name__)

# Passes before a graph is recorded: libraries choose kernels, caches fill, compilers compile.
_WARMUP_PASSES = 3


class Recording(NamedTuple):
    """What a capture leaves: ``replay`` computes ``output`` anew from what lies in the static input."""

    replay: Callable[[], None]
    output: Tensor


#: Records a function of the static input, without gradients, and runs nothing else meanwhile.
Capture = Callable[[Callable[[Tensor], Tensor], Tensor], Recording]


class _Graph(NamedTuple):
    """A recording, its input, and what else it reads: held, since a graph knows addresses only."""

    static_input: Tensor
    recording: Recording
    held: list[Tensor]


class GraphedNetwork:
    """A network for inference whose passes are recorded once for each bucket of sizes and then replayed.

    It is called like the network and gives the same images. Where a network pads the image before anything
    else, the padding stays outside the graph: all sizes with the same padded size are one bucket. Other
    networks, such as ESC, pad inside, where a graph fits one size: each size is a bucket. A network without
    windows has no padding, so each size is a bucket, too. Recording costs several plain passes: it pays where
    sizes repeat.

    All graphs are dropped when parameters or buffers were written or replaced, and when the network trained
    in between. As in :class:`srlab.layers.at_rest.KeptAtRest`, writes through ``.data`` and steps of fused
    optimizers without a call of ``train()`` are not seen. Not for several threads or streams at a time.

    Args:
        network: on a CUDA device, in evaluation mode.
        max_graphs: buckets whose graphs are kept; beyond, the one that was used longest ago is dropped.
        make_capture: what records passes, made anew whenever all graphs were dropped; by default
            :class:`CudaCapture`, which needs CUDA.
    """

    def __init__(
        self, network: Network, *, max_graphs: int = 16, make_capture: Callable[[], Capture] | None = None
    ) -> None:
        self.network = network
        self.max_graphs = require_integer("max_graphs", max_graphs)
        self._needs_cuda = make_capture is None
        self._make_capture = CudaCapture if make_capture is None else make_capture
        self._capture: Capture | None = None
        self._graphs: OrderedDict[tuple[Any, ...], _Graph] = OrderedDict()
        self._recorded_with: list[tuple[Any, ...]] = []

    @property
    def scale(self) -> int:
        """Enlargement of both sides."""
        return self.network.scale

    @property
    def size_multiple(self) -> int:
        """What the network pads sides to."""
        return self.network.size_multiple

    @property
    def graphs(self) -> int:
        """How many graphs are kept now."""
        return len(self._graphs)

    def clear(self) -> None:
        """Drop all graphs and their memory."""
        self._graphs.clear()
        self._capture = None

    @torch.no_grad()
    def __call__(self, lr_image: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to (B, 3, scale * H, scale * W), without gradients.

        Raises:
            ValueError: for a network or image that is not on the same CUDA device, or in training mode.
        """
        require_image(lr_image)
        self._check(lr_image)
        height, width = lr_image.shape[-2:]
        padded = pad_to_multiple(lr_image, self.size_multiple) if self.network.pads_image else lr_image
        graph = self._graph_for(padded)
        graph.static_input.copy_(padded)
        graph.recording.replay()
        return graph.recording.output[..., : height * self.scale, : width * self.scale].clone()

    def _check(self, lr_image: Tensor) -> None:
        if any(module.training for module in self.network.modules()):
            self.clear()
            raise ValueError("a CUDA graph records inference: call network.eval() first")
        weight = next(self.network.parameters(), None)
        if weight is None:
            raise ValueError(
                f"{type(self.network).__name__} has no weights and nothing to gain from CUDA graphs; "
                "leave them off and call it itself"
            )
        if self._needs_cuda:
            require_cuda(lr_image.device)
        if weight.device != lr_image.device:
            raise ValueError(
                f"the network lies on {weight.device}, the image on {lr_image.device}; "
                "move both to one device"
            )

    def _graph_for(self, padded: Tensor) -> _Graph:
        state = _state_of(self.network)
        if state != self._recorded_with:
            self.clear()
            self._recorded_with = state
        key = (tuple(padded.shape), padded.dtype, *_settings(self.network, padded))
        if key not in self._graphs:
            self._graphs[key] = self._record(padded)
            log.debug("recorded a CUDA graph for %s", tuple(padded.shape))
            # after recording: memory that graphs share must not be without any meanwhile
            if len(self._graphs) > self.max_graphs:
                self._graphs.popitem(last=False)
        self._graphs.move_to_end(key)
        return self._graphs[key]

    @torch.inference_mode(False)  # an inference tensor could not be written to outside of that mode
    @torch.no_grad()
    def _record(self, padded: Tensor) -> _Graph:
        if self._capture is None:
            self._capture = self._make_capture()
        static_input = torch.empty_like(padded, memory_format=torch.contiguous_format).copy_(padded)
        self.network(static_input)  # fills what is kept beside the pass: biases, masks, autocast's weights
        with _ReadFromOutside() as seen:
            self.network(static_input)
        with kept_in_captures():  # graphs are dropped when what is kept is computed anew
            recording = self._capture(self.network, static_input)
        return _Graph(static_input, recording, seen.tensors)


class CudaCapture:
    """Records passes as CUDA graphs that share their memory: two are never replayed at the same time."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()
        self._stream: torch.cuda.Stream | None = None

    def __call__(self, run: Callable[[Tensor], Tensor], static_input: Tensor) -> Recording:
        """Run on a stream of their own, to warm up and then to record; all on one CUDA device.

        Args:
            run: without gradients, and without anything that waits for the device.
            static_input: a replay reads what lies there then.
        """
        with torch.cuda.device(static_input.device):
            # one stream for all: libraries keep a workspace for each
            self._stream = self._stream or torch.cuda.Stream()
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                for _ in range(_WARMUP_PASSES):
                    run(static_input)
            torch.cuda.current_stream().wait_stream(self._stream)
            graph = torch.cuda.CUDAGraph()
            # other threads, such as those that pin memory, may go on
            with torch.cuda.graph(
                graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
            ):
                output = run(static_input)
        return Recording(graph.replay, output)


def require_cuda(device: torch.device) -> None:
    """A ValueError that names the remedy unless ``device`` can record CUDA graphs."""
    if device.type != "cuda":
        raise ValueError(
            f"CUDA graphs need a CUDA device, got {device}; move network and images with .to('cuda'), or "
            "leave CUDA graphs off and call the network itself"
        )


class _ReadFromOutside(TorchDispatchMode):
    """Collects the tensors that operators read and that none of them made: weights, masks that are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.tensors: list[Tensor] = []
        # weak, so that what passes through goes; an address is not given again as long as it is referred to
        self._known: dict[int, StorageWeakRef] = {}

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Compiled parts run as they are, not operator by operator."""
        return True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Note inputs, run, note outputs."""
        self.tensors += self._unknown((args, kwargs))
        result = func(*args, **(kwargs or {}))
        self._unknown(result)
        return result

    def _unknown(self, values: Any) -> list[Tensor]:
        """Tensors on memory that was not seen before."""
        found = []
        for tensor in tree_leaves(values):
            if isinstance(tensor, Tensor):
                reference = StorageWeakRef(tensor.untyped_storage())
                if reference.cdata not in self._known:
                    self._known[reference.cdata] = reference
                    found.append(tensor)
        return found


def _state_of(network: Network) -> list[tuple[Any, ...]]:
    """Where parameters and buffers lie, how often each was written, and what of them was kept beside them."""
    tensors = (*network.parameters(), *network.buffers())
    written = [(t.data_ptr(), t.dtype, 0 if t.is_inference() else t._version) for t in tensors]
    kept = [(module.times_forgotten,) for module in network.modules() if isinstance(module, KeptAtRest)]
    return written + kept


def _settings(network: Network, image: Tensor) -> tuple[Any, ...]:
    """What else decides which kernels run."""
    device, backend = image.device.type, None
    if isinstance(network, AttentionNetwork):
        backend = network.resolved_backend(image.device, image.dtype)
    autocast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    return backend, autocast, torch.get_float32_matmul_precision()
