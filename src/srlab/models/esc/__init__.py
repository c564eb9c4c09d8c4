"""ESC's networks: convolutional attention instead of most self-attention."""
