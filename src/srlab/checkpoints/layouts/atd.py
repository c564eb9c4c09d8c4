"""ATD's files.

Source: github.com/LabShuHangGU/Adaptive-Token-Dictionary at d25fd845, basicsr/archs/atd_arch.py.
"""

from srlab.checkpoints.layouts.convolutional_frame import (
    BLOCK,
    CONVOLUTIONAL_NAMES,
    ConvolutionalFrameLayout,
    bias_table,
    detect_convolutional_frame,
)
from srlab.checkpoints.layouts.layout import Detected, State
from srlab.models.atd import ATD

_QUERY = f"{BLOCK.format(0, 0)}.attn_atd.wq.weight"
_DICTIONARY = "layers.0.residual_group.td"


class AtdLayout(ConvolutionalFrameLayout):
    """The same network with other names."""

    network = ATD
    landmarks = (bias_table(0), _QUERY, _DICTIONARY)
    names = (
        ("layers.{}.residual_group.td", "dictionaries.{}"),
        *CONVOLUTIONAL_NAMES,
        (".wqkv.", ".qkv."),
        (".norm3.", ".refinement.norm."),
        (".sigma", ".refinement.gate"),
        (".attn_win.relative_position_bias_table", ".windows.position_bias.table"),
        (".attn_win.proj.", ".windows.proj."),
        (".attn_aca.logit_scale", ".categories.log_factor"),
        (".attn_aca.proj.", ".categories.proj."),
        (".attn_atd.scale", ".entries.sharpness"),
        (".attn_atd.wq.", ".entries.query."),
        (".attn_atd.wk.", ".entries.key."),
        (".attn_atd.wv.", ".entries.value."),
    )

    def detect(self, state: State) -> Detected:
        """Shifts, sizes of categories and the colour range leave no trace."""
        frame = detect_convolutional_frame(state)
        arguments = {
            **frame,
            "num_heads": [state[bias_table(group)].shape[1] for group in range(len(frame["depths"]))],
            "category_size": 128,
            "dictionary_size": state[_DICTIONARY].shape[0],
            "query_dim": state[_QUERY].shape[0],
        }
        return arguments, ("category_size", "mean", "value_range", "shift_schedule")


OFFICIAL = AtdLayout()
