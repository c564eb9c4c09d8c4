"""ESC-RIB: ESC with windows of 64, whose position bias is implicit and of low rank.

Paper:      Lee et al., "Rank-Factorized Implicit Neural Bias: Scaling Super-Resolution Transformer with
            FlashAttention", arXiv 2603.06738
Reference:  github.com/dslisleedh/SST at bcd61328, sst/archs/esc_rib_arch.py
Deviations: those of the encoder and of :mod:`srlab.layers.implicit_bias`.
"""

from typing import Any

from srlab.layers.feed_forward import ChannelNorm
from srlab.layers.implicit_bias import GatedWindowAttention
from srlab.models.esc.esc import ESC


class EscRib(ESC):
    """Super-resolver of ESC-RIB.

    Args:
        scale: 2, 3, 4 or any other integer.
        dim: feature channels.
        rank: channels of each head that hold the position.
        bias_dim: hidden channels of the position bias.
        frequencies: octaves of the position bias.
        encoder: further arguments of :class:`srlab.models.esc.encoder.EscNetwork`.
    """

    plain_backends = ("reference", "sdpa")
    operators = ()
    attention_type = GatedWindowAttention
    norm_last_type = ChannelNorm

    def __init__(
        self, *, scale: int, dim: int, rank: int, bias_dim: int, frequencies: int, **encoder: Any
    ) -> None:
        bias = {"rank": rank, "bias_dim": bias_dim, "frequencies": frequencies}
        super().__init__(scale=scale, dim=dim, **bias, **encoder)
