"""Models by name, and every form in which a compressed one is saved and read back."""
