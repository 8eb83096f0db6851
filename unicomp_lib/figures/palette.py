"""Name, colour and marker of each method, the same in every figure."""

VERSION = "1"

BLUE, ORANGE, GREEN, GREY, DARK = "#0072B2", "#E69F00", "#009E73", "#999999", "#444444"

# Name, colour and marker of each method. Colours are from the palettes of Okabe and Ito and of Tol; together with the
# markers they can be told apart with any common form of colour vision.
METHODS = {
    "dense": ("Dense", "#000000", "*"),
    "magnitude": ("Magnitude", "#E69F00", "v"),
    "wanda": ("Wanda", "#0072B2", "o"),
    "sparsegpt": ("SparseGPT", "#CC79A7", "D"),
    "rtn": ("RTN", "#56B4E9", "^"),
    "gptq": ("GPTQ", "#D55E00", "P"),
    "awq": ("AWQ", "#882255", "p"),
    "smoothquant": ("SmoothQuant", "#44AA99", "h"),
    "quanto": ("quanto", "#009E73", "s"),
    "minitron": ("Minitron", "#332288", ">"),
    "lrc": ("Low-Rank Clone", "#999933", "<"),
}
# The same for the methods that prune GoogLeNet.
NETWORKS = {
    "unstructured": ("Unstructured", "#0072B2", "o"),
    "filters": ("Filters", "#D55E00", "s"),
    "connections": ("Connections", "#009E73", "D"),
    "dense": ("Dense", "#000000", "*"),
    "untrained": ("Random weights", "#666666", "X"),
}
UNLISTED = "#666666", "X"  # colour and marker of a method in neither table


def method_name(method: str) -> str:
    """A method's name in figures; a method without an entry goes by its name in profiles."""
    return {**NETWORKS, **METHODS}.get(method, (method,))[0]
