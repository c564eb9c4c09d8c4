"""Enlarge pictures for people: file → :class:`~srlab.extensions.upscale.picture.Picture` → network → file."""
