"""Names in the windows that :mod:`srlab.layers.implicit_bias` reproduces.

Source: github.com/dslisleedh/SST at bcd61328, sst/archs/arch_utils.py.
"""

from typing import Any

from srlab.checkpoints.layouts.keys import Names
from srlab.checkpoints.layouts.layout import State

#: Keys of the file and ours, below an attention.
ATTENTION_NAMES: Names = (
    (".attn.to_qkv.", ".attention.qkv."),
    (".attn.to_out.", ".attention.out."),
    (".attn.gate.", ".attention.gate."),
    (".attn.to_hidden", ".attention.position.embed"),
    (".attn.hidden_b", ".attention.position.embed_offset"),
    (".attn.to_q", ".attention.position.to_query"),
    (".attn.to_k", ".attention.position.to_key"),
)


def detect_bias(state: State, attention: str) -> dict[str, Any]:
    """Arguments of the position bias, which all attentions share."""
    waves, hidden_dim = state[f"{attention}.to_hidden"].shape
    return {"bias_dim": hidden_dim, "frequencies": (waves - 2) // 4}
