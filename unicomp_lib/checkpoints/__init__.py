"""Models by name, and every format in which a compressed one is saved and read back."""
