"""EDSR's files of other code than BasicSR.

Sources: github.com/sanghyun-son/EDSR-PyTorch at 3dd71ae5, src/model/edsr.py and common.py (the authors'; RGB
in 0..255, mean shifts are stored); github.com/open-mmlab/mmagic at 58380b2d,
mmagic/models/editors/edsr/edsr_net.py (before: mmediting; its configurations divide RGB by 255).
"""

from srlab.checkpoints.layouts.layout import Layout
from srlab.models.edsr import EDSR

EDSR_PYTORCH = Layout(
    name="EDSR-PyTorch's EDSR",
    network=EDSR,
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
    network=EDSR,
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
