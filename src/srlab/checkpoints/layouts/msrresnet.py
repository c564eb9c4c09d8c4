"""MSRResNet's files of other code than BasicSR.

Sources: github.com/open-mmlab/mmagic at 037933ba, codes/models/archs/SRResNet_arch.py (there named mmsr);
github.com/cszn/KAIR at f9888a09, models/network_msrresnet.py (MSRResNet1 and MSRResNet0); mmagic at a94e49d9,
mmagic/models/editors/srgan/sr_resnet.py.
"""

from srlab.checkpoints.layouts.layout import Layout
from srlab.models.msrresnet import MSRResNet

_INSTEAD = "; files of BasicSR, mmsr and KAIR (MSRResNet1) can be read"

MMSR = Layout(
    name="mmsr's and KAIR's MSRResNet",
    network=MSRResNet,
    landmarks=("recon_trunk.0.conv1.weight", "conv_first.weight", "upconv1.weight", "HRconv.weight"),
    names=(
        ("recon_trunk.{}.conv1.*", "body.{}.conv1.*"),
        ("recon_trunk.{}.conv2.*", "body.{}.conv2.*"),
        ("HRconv.*", "conv_hr.*"),
    ),
)
MMAGIC = Layout(
    name="MMagic's MSRResNet",
    network=MSRResNet,
    landmarks=("trunk_net.0.conv1.weight", "upsample1.upsample_conv.weight", "conv_hr.weight"),
    refusal="it has no activation after the pixel shuffles, which ours has" + _INSTEAD,
)
KAIR_0 = Layout(
    name="KAIR's MSRResNet0",
    network=MSRResNet,
    landmarks=("1.sub.0.res.0.weight", "0.weight"),
    refusal="it has no interpolated image to add to and other activations" + _INSTEAD,
)
