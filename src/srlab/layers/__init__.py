"""Modules used by at least two networks."""
