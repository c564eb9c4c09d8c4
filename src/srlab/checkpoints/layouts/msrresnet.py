"""MSRResNet's files: BasicSR's and those of other code.

Sources: github.com/XPixelGroup/BasicSR at 8d56e3a0; github.com/open-mmlab/mmagic at 037933ba,
codes/models/archs/SRResNet_arch.py (there named mmsr); github.com/cszn/KAIR at f9888a09,
models/network_msrresnet.py (MSRResNet1 and MSRResNet0); mmagic at a94e49d9,
mmagic/models/editors/srgan/sr_resnet.py.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from srlab.checkpoints.layouts.keys import count_numbered
from srlab.checkpoints.layouts.layout import Layout, OfficialLayout
from srlab.models.msrresnet import MSRResNet

_INSTEAD = "; files of BasicSR, mmsr and KAIR (MSRResNet1) can be read"


class MsrResNetLayout(OfficialLayout):
    """The same network with other names."""

    network = MSRResNet
    landmarks = ("body.0.conv1.weight", "conv_first.weight", "upconv1.weight", "conv_hr.weight")
    names = (("upconv1.", "upsample.0."), ("upconv2.", "upsample.2."))

    def detect(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Any], tuple[str, ...]]:
        """All arguments are detected."""
        rows, dim = state["upconv1.weight"].shape[:2]
        by_two = 4 if "upconv2.weight" in state else 2
        scale = 3 if rows == 9 * dim else by_two
        return {"scale": scale, "dim": dim, "depth": count_numbered(state, "body.")}, ()


OFFICIAL = MsrResNetLayout()

MMSR = Layout(
    name="mmsr's and KAIR's MSRResNet",
    official=OFFICIAL,
    landmarks=("recon_trunk.0.conv1.weight", "conv_first.weight", "upconv1.weight", "HRconv.weight"),
    names=(("recon_trunk.", "body."), ("HRconv.", "conv_hr.")),
)
MMAGIC = Layout(
    name="MMagic's MSRResNet",
    official=OFFICIAL,
    landmarks=("trunk_net.0.conv1.weight", "upsample1.upsample_conv.weight", "conv_hr.weight"),
    refusal="it has no activation after the pixel shuffles, which ours has" + _INSTEAD,
)
KAIR_0 = Layout(
    name="KAIR's MSRResNet0",
    official=OFFICIAL,
    landmarks=("1.sub.0.res.0.weight", "0.weight"),
    refusal="it has no interpolated image to add to and other activations" + _INSTEAD,
)
