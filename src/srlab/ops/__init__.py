"""Stateless tensor functions: windows, padding, shifts, attention, colour, resizing."""
