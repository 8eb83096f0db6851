"""Judges: they read stored answers and give verdicts, without the model that wrote the answers."""
