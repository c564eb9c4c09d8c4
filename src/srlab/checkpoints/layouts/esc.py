"""Files of the ESC networks.

Source: github.com/dslisleedh/ESC at e7e6938c.
"""

import math
from typing import Any, ClassVar

from torch import Tensor

from srlab.checkpoints.layouts.keys import Names, count_numbered
from srlab.checkpoints.layouts.layout import Detected, OfficialLayout, State
from srlab.models.esc.esc import ESC
from srlab.models.esc.esc_fp import EscFP
from srlab.models.esc.esc_lte import EscLTE
from srlab.models.esc.esc_real import EscReal
from srlab.models.network import Network

_TABLES = ".attention.position_bias.table"
_OFFICIAL_TABLES = ".attn.relative_position_bias"


def encoder_names(prefix: str = "") -> Names:
    """Keys of the encoder, which may have a prefix in the file."""
    return (
        (f"{prefix}plk_filter", "encoder.kernel.weight"),
        (f"{prefix}lk_channel", "encoder.kernel.channel"),
        (f"{prefix}lk_spatial", "encoder.kernel.spatial"),
        (f"{prefix}proj.", "encoder.first."),
        (f"{prefix}ln_last.", "encoder.norm_last."),
        (f"{prefix}last.", "encoder.last."),
        (f"{prefix}blocks.", "encoder.blocks."),
        (".ln_proj.", ".norm_in."),
        (".ln_attn.", ".norm_attention."),
        (".ln_out.", ".norm_out."),
        (".lns.{}.", ".steps.{}.norm."),
        (".pconvs.{}.plk.dwc_proj.1.", ".steps.{}.mixer.predictor.squeeze."),
        (".pconvs.{}.plk.dwc_proj.3.", ".steps.{}.mixer.predictor.predict."),
        (".pconvs.{}.aggr.", ".steps.{}.mixer.mix."),
        (".convffns.{}.", ".steps.{}.feed_forward."),
        ("encoder.blocks.{}.proj.", "encoder.blocks.{}.feed_forward."),
        (".feed_forward.proj.", ".feed_forward.expand."),
        (".feed_forward.dwc.", ".feed_forward.local."),
        (".feed_forward.aggr.", ".feed_forward.contract."),
        (_OFFICIAL_TABLES, _TABLES),
        (".attn.to_qkv.", ".attention.qkv."),
        (".attn.to_out.", ".attention.out."),
    )


class EscLayout(OfficialLayout):
    """Tables hold the key's position minus the query's there, the query's minus the key's here."""

    network = ESC
    containers = ("params", "params_ema")
    landmarks = ("blocks.0.convffns.0.proj.weight", "plk_filter", "to_img.weight")
    names = (*encoder_names(), ("to_img.", "to_image."))
    subpixels = "to_image"
    #: What stands before the encoder's keys.
    encoder_prefix: ClassVar[str] = ""
    #: Key of the shared kernel, (P, ..., K, K).
    kernel: ClassVar[str] = "plk_filter"
    #: Key of the convolution that makes the image, whose size gives the scale.
    image: ClassVar[str] = "to_img.weight"
    #: Arguments that leave no trace.
    assumed: ClassVar[tuple[str, ...]] = ()

    def detect(self, state: State) -> Detected:
        """All arguments are detected; scale 4 where no convolution of that name depends on it."""
        image = state.get(self.image)
        blocks = f"{self.encoder_prefix}blocks."
        dim = state[f"{self.encoder_prefix}proj.weight"].shape[0]
        arguments = {
            "scale": 4 if image is None else math.isqrt(image.shape[0] // 3),
            "mixed_dim": state[self.kernel].shape[0],
            "kernel_side": state[self.kernel].shape[-1],
            "dim": dim,
            "depth": count_numbered(state, blocks),
            "steps_per_block": count_numbered(state, f"{blocks}0.convffns."),
            **self.detect_attention(state),
            "ffn_ratio": width_ratio(dim, state[f"{blocks}0.proj.proj.weight"].shape[0]),
            "step_ffn_ratio": width_ratio(dim, state[f"{blocks}0.convffns.0.proj.weight"].shape[0]),
            "normed_steps": f"{blocks}0.lns.0.weight" in state,
            "backend": "auto",
        }
        return arguments, self.assumed

    def detect_attention(self, state: State) -> dict[str, Any]:
        """Arguments of the window attention."""
        heads, rows = state[f"{self.encoder_prefix}blocks.0{_OFFICIAL_TABLES}"].shape
        return {"window_size": (math.isqrt(rows) + 1) // 2, "num_heads": heads}

    def to_ours(self, state: State) -> dict[str, Tensor]:
        """Rename keys, and reverse the tables."""
        renamed = super().to_ours(state)
        return {key: value.T.flip(0) if key.endswith(_TABLES) else value for key, value in renamed.items()}

    def from_ours(self, network: Network) -> dict[str, Tensor]:
        """The way back."""
        return {
            key: value.flip(0).T.contiguous() if key.endswith(_OFFICIAL_TABLES) else value
            for key, value in super().from_ours(network).items()
        }


class EscFPLayout(EscLayout):
    """The kernel has two parts, and the predictor another name."""

    network = EscFP
    landmarks = ("blocks.0.convffns.0.proj.weight", "lk_channel", "lk_spatial", "to_img.weight")
    names = ((".plk.proj.", ".plk.dwc_proj."), *encoder_names(), ("to_img.", "to_image."))
    kernel = "lk_spatial"


class EscLTELayout(EscLayout):
    """Files of implicit image functions; one serves every scale."""

    network = EscLTE
    containers = ()
    subpixels = None
    landmarks = (
        "encoder.blocks.0.convffns.0.proj.weight",
        "encoder.plk_filter",
        "coef.weight",
        "imnet.layers.0.weight",
    )
    encoder_prefix = "encoder."
    kernel = "encoder.plk_filter"
    names = (
        *encoder_names("encoder."),
        ("coef.", "estimator.amplitude."),
        ("freq.", "estimator.frequency."),
        ("phase.", "estimator.phase."),
        ("imnet.layers.", "estimator.mlp."),
    )

    def detect(self, state: State) -> Detected:
        """The scale leaves no trace."""
        arguments, _ = super().detect(state)
        return {**arguments, "query_dim": state["coef.weight"].shape[0]}, ("scale",)


class EscRealLayout(EscLayout):
    """Another head, for scale 4 only."""

    network = EscReal
    subpixels = None
    landmarks = ("blocks.0.convffns.0.proj.weight", "plk_filter", "to_img.8.weight", "skip.0.weight")
    names = (
        *encoder_names(),
        ("to_img.1.", "head.stages.0."),
        ("to_img.4.", "head.stages.1."),
        ("to_img.6.", "head.refine."),
        ("to_img.8.", "head.last."),
        ("skip.0.", "skip.expand."),
        ("skip.1.", "skip.local."),
        ("skip.3.", "skip.contract."),
    )


def width_ratio(dim: int, hidden_dim: int) -> float:
    """A ratio of which the network makes ``hidden_dim`` channels."""
    ratio = hidden_dim / dim
    return ratio if int(dim * ratio) == hidden_dim else (hidden_dim + 0.5) / dim
