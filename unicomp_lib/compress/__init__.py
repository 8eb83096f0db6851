"""Compression methods: each takes a model in memory and compresses it in place."""
