"""Finds training images that show what test images show."""
