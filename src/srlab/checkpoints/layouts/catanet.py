"""CATANet's files.

Source: github.com/EquationWalker/CATANet at fd2222f3, basicsr/archs/catanet_arch.py.
"""

import math

from torch import Tensor

from srlab.checkpoints.layouts.keys import count_numbered, rename_all, reverse
from srlab.checkpoints.layouts.layout import Detected, OfficialLayout, State
from srlab.models.catanet import CATANet
from srlab.models.network import Network

_FIRST = "blocks.0.0"
_PATCH_SIZES = (16, 20, 24, 28)
# Centres times tokens of a group, in each of the published blocks.
_GROUPED = 4096
# The only name that depends on the scale: x2 and x3 have one stage of upsampling.
_SINGLE_STAGE = (("upconv.", "upconv1."),)


class CatanetLayout(OfficialLayout):
    """The same network with other names; the buffers ``means`` and ``initted`` are our centres."""

    network = CATANet
    landmarks = (f"{_FIRST}.iasa_attn.to_q.weight", f"{_FIRST}.means", "first_conv.weight")
    names = (
        (".to_q.", ".query."),
        (".to_k.", ".key."),
        (".to_v.", ".value."),
        (".fn.fc1.", ".fn.expand."),
        (".fn.fc2.", ".fn.contract."),
        (".fn.dwconv.depthwise_conv.0.", ".fn.local."),
        ("blocks.{}.0.means", "body.{}.aggregation.centres"),
        ("blocks.{}.0.initted", "body.{}.aggregation.is_trained"),
        ("blocks.{}.0.norm.", "body.{}.aggregation.norm."),
        ("blocks.{}.0.irca_attn.", "body.{}.aggregation.centre_"),
        ("blocks.{}.0.iasa_attn.proj.", "body.{}.aggregation.merge."),
        ("blocks.{}.0.iasa_attn.", "body.{}.aggregation.project."),
        ("blocks.{}.0.conv1x1.", "body.{}.aggregation.mix."),
        ("blocks.{}.0.mlp.norm.", "body.{}.aggregation_norm."),
        ("blocks.{}.0.mlp.fn.", "body.{}.aggregation_mlp."),
        ("blocks.{}.1.layer.0.norm.", "body.{}.patches.norm."),
        ("blocks.{}.1.layer.0.fn.proj.", "body.{}.patches.merge."),
        ("blocks.{}.1.layer.0.fn.", "body.{}.patches.project."),
        ("blocks.{}.1.layer.1.norm.", "body.{}.patches_norm."),
        ("blocks.{}.1.layer.1.fn.", "body.{}.patches_mlp."),
        ("mid_convs.{}.", "body.{}.conv."),
        ("first_conv.", "conv_first."),
        ("upconv1.", "head.stages.0."),
        ("upconv2.", "head.stages.1."),
        ("last_conv.", "head.last."),
    )

    def detect(self, state: State) -> Detected:
        """Heads, groups, patches and steps of refinement have no weights."""
        blocks = range(count_numbered(state, "mid_convs."))
        centres = [state[f"blocks.{block}.0.means"].shape[0] for block in blocks]
        query_dim, dim = state[self.landmarks[0]].shape
        stages = 1 if "upconv.weight" in state else 2
        arguments = {
            "scale": math.isqrt(state["upconv.weight"].shape[0] // dim) if stages == 1 else 4,
            "dim": dim,
            "query_dim": query_dim,
            "hidden_dim": state[f"{_FIRST}.mlp.fn.fc1.weight"].shape[0],
            "num_heads": 4,
            "num_centres": centres,
            "group_sizes": [max(1, _GROUPED // count) for count in centres],
            "patch_sizes": [_PATCH_SIZES[block % len(_PATCH_SIZES)] for block in blocks],
            "iterations": 5,
            "backend": "auto",
        }
        return arguments, ("num_heads", "group_sizes", "patch_sizes", "iterations")

    def to_ours(self, state: State) -> dict[str, Tensor]:
        """A single stage of upsampling has a name of its own."""
        return super().to_ours(rename_all(state, _SINGLE_STAGE))

    def from_ours(self, network: Network) -> dict[str, Tensor]:
        """The way back."""
        state = super().from_ours(network)
        return state if network.scale == 4 else rename_all(state, reverse(_SINGLE_STAGE))
