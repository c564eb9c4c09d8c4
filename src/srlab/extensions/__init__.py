"""Packages built on the core, which runs without them."""
