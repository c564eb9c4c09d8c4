"""Enlarge pictures: file → :class:`~srlab.extensions.upscale.picture.Picture` → network → file."""
