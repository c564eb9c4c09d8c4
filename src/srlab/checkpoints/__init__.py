"""Reads and writes networks, in our own and official files. Code in a file is never run."""

from srlab.checkpoints.loading import LoadedCheckpoint, at_scale, load_model, load_strictly, read_checkpoint
from srlab.checkpoints.writing import official_state, save_official, save_pretrained, save_safetensors

__all__ = [
    "LoadedCheckpoint",
    "at_scale",
    "load_model",
    "load_strictly",
    "official_state",
    "read_checkpoint",
    "save_official",
    "save_pretrained",
    "save_safetensors",
]
