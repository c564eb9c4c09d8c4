"""Training and scoring a network."""
