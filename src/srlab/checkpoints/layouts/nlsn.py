"""NLSN's files.

Source: github.com/HarukiYqM/Non-Local-Sparse-Attention at fb3d4225, src/model/nlsn.py, attention.py and
common.py (RGB in [0, 1]).
"""

from srlab.checkpoints.layouts.edsr import EdsrPytorchLayout
from srlab.checkpoints.layouts.keys import count_numbered
from srlab.checkpoints.layouts.layout import Detected, State
from srlab.models.nlsn import NLSN


class NlsnLayout(EdsrPytorchLayout):
    """The same network with other names."""

    network = NLSN
    landmarks = ("body.0.conv_match.0.weight", "body.1.body.0.weight", "head.0.weight", "tail.0.0.weight")
    names = (
        ("body.{}.conv_match.0.", "body.{}.match."),
        ("body.{}.conv_assembly.0.", "body.{}.assemble."),
        ("body.{}.body.0.", "body.{}.conv1."),
        ("body.{}.body.2.", "body.{}.conv2."),
        *EdsrPytorchLayout.names,
    )

    def detect(self, state: State) -> Detected:
        """Chunks, rounds and factors have no weights."""
        modules = count_numbered(state, "body.") - 1  # the last one is a convolution
        attentions = [each for each in range(modules) if f"body.{each}.conv_match.0.weight" in state]
        embedded, dim = state[self.landmarks[0]].shape[:2]
        frame, color = self.detect_frame(state)
        depth = modules - len(attentions)
        is_published = (dim, depth) == (256, 32)
        arguments = {
            **frame,
            "depth": depth,
            # the second attention stands behind the first and that many blocks
            "attention_every": attentions[1] - 1 if len(attentions) > 1 else 8,
            "reduction": dim // embedded,
            "chunk_size": 144,
            "num_rounds": 4,
            "residual_scale": 0.1 if is_published else 1.0,
            "hash_seed": 0,
            "backend": "auto",
        }
        spaced = () if len(attentions) > 1 else ("attention_every",)
        return arguments, ("chunk_size", "num_rounds", "residual_scale", "hash_seed", *spaced, *color)
