"""HAN's files.

Source: github.com/wwlCape/HAN at 0595e23a, src/model/han.py and common.py (RGB in 0..255; the authors' loader
ignores missing and unexpected keys).
"""

from srlab.checkpoints.layouts.edsr import EdsrPytorchLayout
from srlab.checkpoints.layouts.keys import count_numbered
from srlab.checkpoints.layouts.layout import Detected, State
from srlab.models.han import HAN


class HanLayout(EdsrPytorchLayout):
    """The same network with other names."""

    network = HAN
    landmarks = ("la.gamma", "csa.gamma", "last_conv.weight", "head.0.weight", "tail.0.0.weight")
    names = (
        ("body.{}.body.{}.body.0.*", "body.{}.blocks.{}.conv1.*"),
        ("body.{}.body.{}.body.2.*", "body.{}.blocks.{}.conv2.*"),
        ("body.{}.body.{}.body.3.conv_du.0.*", "body.{}.blocks.{}.attention.squeeze.*"),
        ("body.{}.body.{}.body.3.conv_du.2.*", "body.{}.blocks.{}.attention.excite.*"),
        ("body.{}.body.{}.*", "body.{}.conv.*"),
        *EdsrPytorchLayout.names,
        ("csa.conv.", "channel_spatial_attention.conv."),
        ("csa.gamma", "channel_spatial_attention.gamma"),
        ("la.gamma", "layer_attention.gamma"),
        ("last_conv.", "conv_layers."),
        ("last.", "conv_fuse."),
    )

    def detect(self, state: State) -> Detected:
        """The mean shift gives colour and range."""
        groups = count_numbered(state, "body.") - 1  # the last one is a convolution
        hidden, dim = state["body.0.body.0.body.3.conv_du.0.weight"].shape[:2]
        frame, assumed = self.detect_frame(state)
        arguments = {
            **frame,
            "num_groups": groups,
            "depth": count_numbered(state, "body.0.body.") - 1,
            "squeeze_factor": dim // hidden,
        }
        return arguments, assumed
