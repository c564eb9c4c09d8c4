"""ELAN's files of other code than the authors'.

Source: modelzoo/ELAN of github.com/Fried-Rice-Lab/FriedRiceLab at e4340dcd (branch rssr). Files of its later
commits and of github.com/the-database/traiNNer-redux have the authors' keys.
"""

from srlab.checkpoints.layouts.layout import Layout
from srlab.models.elan import ELAN

_LOCAL, _LOCAL_OFFICIAL = "body.{}.modules_lfe.{}.lfe", "body.{}.modules_lfe.lfe_{}"

FRIED_RICE = Layout(
    name="FriedRiceLab's ELAN",
    network=ELAN,
    landmarks=("body.0.modules_lfe.0.lfe.0.weight", "head.weight", "tail.0.weight"),
    names=(
        ("head.*", "head.0.*"),
        (f"{_LOCAL}.0.mask", f"{_LOCAL_OFFICIAL}.conv0.shift_conv.weight"),
        (f"{_LOCAL}.0.*", f"{_LOCAL_OFFICIAL}.conv0.shift_conv.conv1x1.*"),
        (f"{_LOCAL}.2.mask", f"{_LOCAL_OFFICIAL}.conv1.shift_conv.weight"),
        (f"{_LOCAL}.2.*", f"{_LOCAL_OFFICIAL}.conv1.shift_conv.conv1x1.*"),
        ("body.{}.modules_gmsa.{}.project_inp.0.*", "body.{}.modules_gmsa.gmsa_{}.project_inp.0.*"),
        ("body.{}.modules_gmsa.{}.project_inp.1.*", "body.{}.modules_gmsa.gmsa_{}.project_inp.1.*"),
        ("body.{}.modules_gmsa.{}.project_out.*", "body.{}.modules_gmsa.gmsa_{}.project_out.*"),
    ),
)
