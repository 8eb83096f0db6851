"""Evaluations: each returns item rows, one per item and metric."""
