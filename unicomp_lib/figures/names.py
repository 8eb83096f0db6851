"""Names of the files of a figure, without the drawing."""

# What follows the stem of a figure or table in the names of its files.
PICTURES = (".png", ".svg", ".column.pdf", ".column.svg")
TABLES = (".csv", ".rounded.csv")


def stem(name: str) -> str:
    """What a figure or table is called, of the name of one of its files."""
    return name.partition(".")[0]
