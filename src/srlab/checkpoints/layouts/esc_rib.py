"""Files of ESC-RIB.

Source: github.com/dslisleedh/SST at bcd61328.
"""

from typing import Any

from srlab.checkpoints.layouts.esc import EscLayout, encoder_names
from srlab.checkpoints.layouts.layout import State
from srlab.checkpoints.layouts.sst import ATTENTION_NAMES, detect_bias
from srlab.models.esc.esc_rib import EscRib

_ATTENTION = "blocks.0.attn"


class EscRibLayout(EscLayout):
    """ESC's names; the windows have no weights of their own."""

    network = EscRib
    landmarks = ("blocks.0.convffns.0.proj.weight", "plk_filter", f"{_ATTENTION}.to_hidden", "last.1.weight")
    names = (
        *encoder_names(),
        ("encoder.last.0.", "encoder.norm_last."),
        ("encoder.last.1.", "encoder.last."),
        *ATTENTION_NAMES,
        ("upsampler.up_conv.", "to_image."),
    )
    image = "upsampler.up_conv.weight"
    assumed = ("window_size",)

    def detect_attention(self, state: State) -> dict[str, Any]:
        """The published side of the windows."""
        heads, _, rank = state[f"{_ATTENTION}.to_q"].shape
        return {"window_size": 64, "num_heads": heads, "rank": rank, **detect_bias(state, _ATTENTION)}
