"""EDSR's files: BasicSR's, EDSR-PyTorch's (the authors') and MMagic's.

Sources: github.com/XPixelGroup/BasicSR at 8d56e3a0; github.com/sanghyun-son/EDSR-PyTorch at 3dd71ae5,
src/model/edsr.py and common.py (RGB in 0..255, mean shifts are stored); github.com/open-mmlab/mmagic at
58380b2d, mmagic/models/editors/edsr/edsr_net.py (before: mmediting; its configurations divide RGB by 255).
"""

import math
import re
from typing import Any

from srlab.checkpoints.layouts.keys import count_numbered
from srlab.checkpoints.layouts.layout import Detected, Layout, OfficialLayout, State
from srlab.layers.color import RGB_MEAN
from srlab.models.edsr import EDSR


def detect_frame(state: State) -> dict[str, Any]:
    """Arguments of :class:`srlab.models.residual_cnn.ResidualCNN`, with the published colour range."""
    dim = state["conv_first.weight"].shape[0]
    stages = sum(bool(re.fullmatch(r"upsample\.\d+\.weight", key)) for key in state)
    factor = math.isqrt(state["upsample.0.weight"].shape[0] // dim)
    return {"scale": factor**stages, "dim": dim, "value_range": 255.0, "mean": list(RGB_MEAN)}


class EdsrLayout(OfficialLayout):
    """The keys are ours."""

    network = EDSR
    landmarks = ("body.0.conv1.weight", "conv_first.weight", "conv_after_body.weight", "upsample.0.weight")

    def detect(self, state: State) -> Detected:
        """Factors have no weights."""
        frame, depth = detect_frame(state), count_numbered(state, "body.")
        # the published large network scales its residuals, the baseline does not
        residual_scale = 0.1 if (frame["dim"], depth) == (256, 32) else 1.0
        arguments = {**frame, "depth": depth, "residual_scale": residual_scale}
        return arguments, ("residual_scale", "mean", "value_range")


OFFICIAL = EdsrLayout()

EDSR_PYTORCH = Layout(
    name="EDSR-PyTorch's EDSR",
    official=OFFICIAL,
    landmarks=("body.0.body.0.weight", "head.0.weight", "tail.0.0.weight", "tail.1.weight"),
    names=(
        ("head.0.*", "conv_first.*"),
        ("body.{}.body.0.*", "body.{}.conv1.*"),
        ("body.{}.body.2.*", "body.{}.conv2.*"),
        ("body.{}.*", "conv_after_body.*"),
        ("tail.0.{}.*", "upsample.{}.*"),
        ("tail.1.*", "conv_last.*"),
    ),
    shifts_mean=True,
)
MMAGIC = Layout(
    name="MMagic's EDSR",
    official=OFFICIAL,
    landmarks=(
        "upsample.0.upsample_conv.weight",
        "body.0.conv1.weight",
        "conv_first.weight",
        "conv_after_body.weight",
    ),
    # each pixel shuffle is a module with its convolution there, two modules in a row here
    names=tuple((f"upsample.{stage}.upsample_conv.*", f"upsample.{2 * stage}.*") for stage in range(5)),
    arguments={"value_range": 1.0},
)
