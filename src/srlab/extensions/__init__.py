"""What stands on the core; the core runs without it."""
