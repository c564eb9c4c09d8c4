"""RCAN's files: BasicSR's and the authors'.

Sources: github.com/XPixelGroup/BasicSR at 8d56e3a0; github.com/yulunzhang/RCAN at a57c5ed2,
RCAN_TestCode/code/model/rcan.py (RGB in 0..255, mean shifts are stored);
github.com/the-database/traiNNer-redux at 01799c0f has the authors' keys.
"""

from srlab.checkpoints.layouts.edsr import EdsrPytorchLayout, detect_frame
from srlab.checkpoints.layouts.keys import count_numbered
from srlab.checkpoints.layouts.layout import Detected, Layout, OfficialLayout, State
from srlab.models.rcan import RCAN

_BLOCK = "body.0.residual_group.0.rcab"


class RcanLayout(OfficialLayout):
    """The same network with other names."""

    network = RCAN
    landmarks = (
        f"{_BLOCK}.3.attention.1.weight",
        f"{_BLOCK}.0.weight",
        "conv_first.weight",
        "conv_after_body.weight",
        "upsample.0.weight",
    )
    names = (
        (".residual_group.", ".blocks."),
        (".rcab.0.", ".conv1."),
        (".rcab.2.", ".conv2."),
        (".rcab.3.attention.1.", ".attention.squeeze."),
        (".rcab.3.attention.3.", ".attention.excite."),
    )

    def detect(self, state: State) -> Detected:
        """The colour range has no weights."""
        hidden, dim = state[self.landmarks[0]].shape[:2]
        arguments = {
            **detect_frame(state),
            "num_groups": count_numbered(state, "body."),
            "depth": count_numbered(state, "body.0.residual_group."),
            "squeeze_factor": dim // hidden,
        }
        return arguments, ("mean", "value_range")


AUTHORS = Layout(
    name="the authors' RCAN",
    official=RcanLayout(),
    landmarks=(
        "body.0.body.0.body.3.conv_du.0.weight",
        "head.0.weight",
        "tail.0.0.weight",
        "tail.1.weight",
    ),
    names=(
        ("body.{}.body.{}.body.0.*", "body.{}.residual_group.{}.rcab.0.*"),
        ("body.{}.body.{}.body.2.*", "body.{}.residual_group.{}.rcab.2.*"),
        ("body.{}.body.{}.body.3.conv_du.0.*", "body.{}.residual_group.{}.rcab.3.attention.1.*"),
        ("body.{}.body.{}.body.3.conv_du.2.*", "body.{}.residual_group.{}.rcab.3.attention.3.*"),
        ("body.{}.body.{}.*", "body.{}.conv.*"),
        *EdsrPytorchLayout.names,
    ),
    shifts_mean=True,
)
