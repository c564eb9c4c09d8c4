"""Networks from files and to files: our own, and official ones. No code in a file ever runs."""

from srlab.checkpoints.loading import LoadedCheckpoint, load_model, load_strictly, read_checkpoint
from srlab.checkpoints.writing import save_official, save_safetensors

__all__ = [
    "LoadedCheckpoint",
    "load_model",
    "load_strictly",
    "read_checkpoint",
    "save_official",
    "save_safetensors",
]
