"""Files of SST, and what those of ESC-RIB share with them.

Source: github.com/dslisleedh/SST at bcd61328.
"""

import math
from itertools import cycle, islice
from typing import Any

from torch import Tensor

from srlab.checkpoints.layouts.esc import width_ratio
from srlab.checkpoints.layouts.keys import Names, count_numbered, rename_all, reverse
from srlab.checkpoints.layouts.layout import Detected, OfficialLayout, State
from srlab.models.network import Network
from srlab.models.sst import SST

_FIRST = "body.0.0"
_HEAD = "upsampler.up_conv."

# The light network's; the same parameters serve any others.
_WINDOW_SIZES = (8, 16, 32, 16, 32, 64)

#: Keys of windows with an implicit bias.
ATTENTION_NAMES: Names = (
    (".attn.to_qkv.", ".attention.qkv."),
    (".attn.to_out.", ".attention.out."),
    (".attn.gate.", ".attention.gate."),
    (".attn.to_hidden", ".attention.position.embed"),
    (".attn.hidden_b", ".attention.position.embed_offset"),
    (".attn.to_q", ".attention.position.to_query"),
    (".attn.to_k", ".attention.position.to_key"),
)


def detect_bias(state: State, attention: str) -> dict[str, Any]:
    """Arguments of the position bias, which all attentions share."""
    waves, hidden_dim = state[f"{attention}.to_hidden"].shape
    return {"bias_dim": hidden_dim, "frequencies": (waves - 2) // 4}


def _names(groups: int | str, after: int | str, blocks: int | str) -> Names:
    """Names where the norm behind the groups is ``body.{groups}`` and the convolution ``body.{after}``."""
    return (
        ("proj.", "conv_first."),
        (f"body.{groups}.", "norm_last."),
        (f"body.{after}.", "conv_last."),
        (f"body.{{}}.{blocks}.", "groups.{}.conv."),
        ("body.{}.", "groups.{}.blocks."),
        (_HEAD, "head.upsample.0."),
        (".norm_attn.", ".norm_attention."),
        (".norm_ffn.", ".norm_mlp."),
        (".ffn.proj.", ".mlp.expand."),
        (".ffn.dwc.", ".mlp.local."),
        (".ffn.agg.", ".mlp.contract."),
        *ATTENTION_NAMES,
    )


class SSTLayout(OfficialLayout):
    """Groups, the last norm and the last convolution are numbered alike, so names depend on their number."""

    network = SST
    containers = ("params", "params_ema")
    landmarks = (f"{_FIRST}.attn.to_hidden", f"{_FIRST}.ffn.agg.weight", f"{_HEAD}weight")
    #: Without the numbers, for messages.
    names = _names("N", "N+1", "N")
    subpixels = "head.upsample.0"

    def detect(self, state: State) -> Detected:
        """Windows and shifts have no weights of their own."""
        dim, hidden_dim = state["proj.weight"].shape[0], state[f"{_FIRST}.ffn.proj.weight"].shape[0]
        groups, blocks = _counts(state)
        shapes = [state[f"body.0.{block}.attn.to_q"].shape for block in range(blocks)]
        arguments = {
            "scale": math.isqrt(state[f"{_HEAD}weight"].shape[0] // 3),
            "dim": dim,
            "num_groups": groups,
            "window_sizes": list(islice(cycle(_WINDOW_SIZES), blocks)),
            "num_heads": [shape[0] for shape in shapes],
            "ranks": [shape[2] for shape in shapes],
            "mlp_ratio": width_ratio(dim, hidden_dim),
            **detect_bias(state, f"{_FIRST}.attn"),
            "shift_schedule": "none",
            "backend": "auto",
        }
        return arguments, ("window_sizes", "shift_schedule")

    def to_ours(self, state: State) -> dict[str, Tensor]:
        """With the numbers of this file."""
        groups, blocks = _counts(state)
        return rename_all(state, _names(groups, groups + 1, blocks))

    def from_ours(self, network: Network) -> dict[str, Tensor]:
        """With the numbers of this network."""
        assert isinstance(network, SST)
        state = network.state_dict()
        groups, blocks = count_numbered(state, "groups."), count_numbered(state, "groups.0.blocks.")
        return rename_all(state, reverse(_names(groups, groups + 1, blocks)))


def _counts(state: State) -> tuple[int, int]:
    """Groups, and blocks of each: two modules follow the groups, one follows the blocks."""
    return count_numbered(state, "body.") - 2, count_numbered(state, "body.0.") - 1
