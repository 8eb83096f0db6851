"""Palette, labels and shared axes of the figures."""
