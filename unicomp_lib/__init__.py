"""Thin helper library behind the notebooks of the study of model compression."""
