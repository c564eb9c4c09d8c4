"""SwinIR with ELSA: SwinIR whose window attention is replaced by Hadamard attention with a ghost head.

Paper:      none; ELSA has not been published for super-resolution. The question: what does local attention
            lose or gain when its windows become a neighbourhood around each pixel, with nothing else changed?
            Frame: Liang et al., arXiv 2108.10257. Attention: Zhou et al., arXiv 2112.12786.
Reference:  none for the whole; the parts are held against github.com/JingyunLiang/SwinIR at 65458505 and
            github.com/damo-cv/ELSA at f3b7ac7a.
Deviations: from SwinIR, only the attention: norms, feed-forward networks, drop path, groups, convolutions,
            head and the bias of the projections are its own. Nothing is padded: filters see zeros outside.

There are no windows, so nothing is shifted: in every block a pixel sees the K x K pixels around it, wherever
it is, and rolling the map would change its borders only. K = 7 gives 49 neighbours; a window of SwinIR has
64 tokens, but at its edge a token sees none beyond. Gathering products over K x K pixels costs more than
windows: 1,575,804 parameters and 89.4 G multiply-adds at x4 (1280 x 720) against 929,628 and 62.7 G.

The preset has lam = 0 and gamma = 1, as ELSA-Swin: a filter is the soft-max weights of its head plus a static
filter of each channel. Soft-max weights are averages, which blur; the static part has negative taps too,
which sharpening needs. lam = 1 would also make the adaptive part signed, but its factors start as N(0, 1): at
first every channel would see its neighbours through noise. Which is better is to be measured.

Shape legend: B batch, C features, H/W low-resolution size; maps are (B, H, W, C).
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from srlab.layers.drop_path import drop_path_schedule
from srlab.layers.elsa import HadamardAttention
from srlab.layers.feed_forward import TransformerBlock
from srlab.models.residual_groups import ResidualGroupNetwork, check_groups

# biased as in SwinIR, not scaled as in ELSA's own block
_Attention = partial(HadamardAttention, qkv_bias=True, qk_scale=1.0)


class SwinIRElsa(ResidualGroupNetwork):
    """SwinIR whose blocks attend to a neighbourhood of each pixel.

    Args:
        dim: feature channels C.
        depths: blocks in each group.
        num_heads: attention heads in each group.
        kernel_side: side K of the neighbourhood in low-resolution pixels, odd.
        group_width: channels in a group of the convolution that gathers products of queries and keys.
        lam: power of the ghost head's factor, see :class:`srlab.layers.elsa.GhostHead`; 0: no factor.
        gamma: strength of the ghost head's addend; 0: no addend.
        mlp_ratio: hidden channels of the feed-forward networks in units of dim.
        drop_path: probability at the last block that training skips a branch; it grows linearly from 0.
        frame: further arguments of :class:`ResidualGroupNetwork`. Backend ``reference`` stores the neighbours
            and filters of all pixels, ``fused`` none of them.
    """

    plain_backends = ("reference", "fused")
    default_backend = "fused"

    def __init__(
        self,
        *,
        dim: int,
        depths: Sequence[int],
        num_heads: Sequence[int],
        kernel_side: int,
        group_width: int,
        lam: int,
        gamma: float,
        mlp_ratio: float,
        drop_path: float,
        **frame: Any,
    ) -> None:
        check_groups(dim, depths, num_heads)
        drops = drop_path_schedule(drop_path, depths)
        block = partial(TransformerBlock, dim=dim, hidden_dim=int(dim * mlp_ratio))
        sizes = {"kernel_side": kernel_side, "group_width": group_width, "lam": lam, "gamma": gamma}

        def make_block(group: int, _position: int) -> TransformerBlock:
            attention = _Attention(dim=dim, num_heads=num_heads[group], **sizes)
            return block(attention=attention, drop_path=next(drops))

        super().__init__(make_block, dim=dim, depths=depths, **frame)
