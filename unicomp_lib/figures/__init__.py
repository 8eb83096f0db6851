"""Palette, names and shared axes of the figures."""
