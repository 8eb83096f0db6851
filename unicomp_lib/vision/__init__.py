"""The vision study: GoogLeNet pruned, retrained and explained (arXiv 2409.19727)."""
