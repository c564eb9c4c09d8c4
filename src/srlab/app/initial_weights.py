"""Starting a network from the weights of another run or of an official file."""

import logging
from pathlib import Path

from srlab.checkpoints import at_scale, read_checkpoint
from srlab.models.network import Network

log = logging.getLogger(__name__)


def start_from(network: Network, path: Path) -> None:
    """Copy the weights in ``path`` into ``network``.

    Of a network of the same class and another scale all weights that fit are copied. The head keeps its
    initial values, unless the authors define how it is converted (ESC).

    Raises:
        ValueError: if the file holds another network, or one with another mean colour or value range.
    """
    source = read_checkpoint(path).network
    theirs, ours, is_same_kind = source.state_dict(), network.state_dict(), type(source) is type(network)
    if is_same_kind:
        if _colours(source) != _colours(network):
            raise ValueError(
                f"initial_weights={path} has the colours {_colours(source)}, this network "
                f"{_colours(network)}; give +model.mean=[R,G,B] and +model.value_range=… as the file has them"
            )
        theirs = at_scale(network, theirs)
    fitting = {key: value for key, value in theirs.items() if key in ours and ours[key].shape == value.shape}
    left_out = sorted(ours.keys() ^ theirs.keys() | (ours.keys() - fitting.keys()))
    another_scale = is_same_kind and source.scale != network.scale
    if left_out and not (another_scale and len(fitting) > len(ours) // 2):
        raise ValueError(
            f"initial_weights={path} holds {type(source).__name__} x{source.scale}, which does not fit "
            f"{type(network).__name__} x{network.scale}: {len(left_out)} tensors differ "
            f"({', '.join(left_out[:4])} …)"
        )
    network.load_state_dict({**ours, **fitting})
    left = ", ".join(left_out) or "none"
    log.info("started from %s (x%d); left at their initial values: %s", path, source.scale, left)


def _colours(network: Network) -> dict[str, object]:
    """Mean colour and value range, which the weights do not determine."""
    offsets = {
        name: [round(value, 4) for value in buffer.flatten().tolist()]
        for name, buffer in network.named_buffers()
        if name in ("mean", "color_offset")
    }
    return {**offsets, "value_range": getattr(network, "value_range", None)}
