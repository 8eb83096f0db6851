"""Finished cells to ask and to talk to."""
