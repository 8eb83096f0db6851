"""Results in the forms that others read; nothing is uploaded."""
