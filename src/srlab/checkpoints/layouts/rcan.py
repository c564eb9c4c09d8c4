"""RCAN's files of the authors' code and what was derived from it.

Source: github.com/yulunzhang/RCAN at a57c5ed2, RCAN_TestCode/code/model/rcan.py (RGB in 0..255, mean shifts
are stored); github.com/the-database/traiNNer-redux at 01799c0f has the same keys.
"""

from srlab.checkpoints.layouts.layout import Layout
from srlab.models.rcan import RCAN

AUTHORS = Layout(
    name="the authors' RCAN",
    network=RCAN,
    landmarks=(
        "body.0.body.0.body.3.conv_du.0.weight",
        "head.0.weight",
        "tail.0.0.weight",
        "tail.1.weight",
    ),
    names=(
        ("head.0.*", "conv_first.*"),
        ("body.{}.body.{}.body.0.*", "body.{}.residual_group.{}.rcab.0.*"),
        ("body.{}.body.{}.body.2.*", "body.{}.residual_group.{}.rcab.2.*"),
        ("body.{}.body.{}.body.3.conv_du.0.*", "body.{}.residual_group.{}.rcab.3.attention.1.*"),
        ("body.{}.body.{}.body.3.conv_du.2.*", "body.{}.residual_group.{}.rcab.3.attention.3.*"),
        ("body.{}.body.{}.*", "body.{}.conv.*"),
        ("body.{}.*", "conv_after_body.*"),
        ("tail.0.{}.*", "upsample.{}.*"),
        ("tail.1.*", "conv_last.*"),
    ),
    shifts_mean=True,
)
