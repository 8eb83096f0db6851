"""What the teaching notebooks compute."""
