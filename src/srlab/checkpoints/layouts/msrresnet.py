"""MSRResNet's files: BasicSR's and those of other code.

Sources: github.com/XPixelGroup/BasicSR at 8d56e3a0; github.com/open-mmlab/mmagic at 037933ba,
codes/models/archs/SRResNet_arch.py (there named mmsr); github.com/cszn/KAIR at f9888a09,
models/network_msrresnet.py (MSRResNet1).
"""

from srlab.checkpoints.layouts.keys import count_numbered
from srlab.checkpoints.layouts.layout import Detected, Layout, OfficialLayout, State
from srlab.models.msrresnet import MSRResNet


class MsrResNetLayout(OfficialLayout):
    """The same network with other names."""

    network = MSRResNet
    landmarks = ("body.0.conv1.weight", "conv_first.weight", "upconv1.weight", "conv_hr.weight")
    names = (("upconv1.", "upsample.0."), ("upconv2.", "upsample.2."))

    def detect(self, state: State) -> Detected:
        """All arguments are detected."""
        rows, dim = state["upconv1.weight"].shape[:2]
        by_two = 4 if "upconv2.weight" in state else 2
        scale = 3 if rows == 9 * dim else by_two
        return {"scale": scale, "dim": dim, "depth": count_numbered(state, "body.")}, ()


MMSR = Layout(
    name="mmsr's and KAIR's MSRResNet",
    official=MsrResNetLayout(),
    landmarks=("recon_trunk.0.conv1.weight", "conv_first.weight", "upconv1.weight", "HRconv.weight"),
    names=(("recon_trunk.", "body."), ("HRconv.", "conv_hr.")),
)
