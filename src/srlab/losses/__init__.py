"""Losses between a restored image and its reference, both in [0, 1]: one file each, one in ``conf/loss``."""
