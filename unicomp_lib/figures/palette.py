"""Name, colour and marker of each method, the same in every figure."""

import zlib

VERSION = "2"

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
    "hqq": ("HQQ", "#DDCC77", "H"),
    "sinq": ("SINQ", "#661100", "d"),
    "fp8": ("FP8", "#117733", "X"),
    "nvfp4": ("NVFP4", "#CC6677", "8"),
    "mxfp4": ("MXFP4", "#AA4499", "$\\spadesuit$"),
    "rotate": ("Rotation", "#6699CC", "$\\clubsuit$"),
    "quarot": ("QuaRot", "#4477AA", "$\\bowtie$"),
    "cache": ("Cache", "#DDAA33", "$\\bigstar$"),
    "minitron": ("Minitron", "#332288", ">"),
    "lrc": ("Low-Rank Clone", "#999933", "<"),
    "finetune": ("Fine-tuning", "#225555", "$\\odot$"),
    "given": ("Given", "#88CCEE", "$\\diamondsuit$"),
    "published": ("Published", "#F0E442", "$\\heartsuit$"),
}
# The same for the methods that prune GoogLeNet.
NETWORKS = {
    "unstructured": ("Unstructured", "#0072B2", "o"),
    "filters": ("Filters", "#D55E00", "s"),
    "connections": ("Connections", "#009E73", "D"),
    "dense": ("Dense", "#000000", "*"),
    "untrained": ("Random weights", "#666666", "X"),
}
# Colours and markers for methods in neither table.
SPARE = (
    ("#666666", "1"), ("#77AADD", "2"), ("#EE8866", "3"), ("#B8860B", "4"), ("#BBCC33", "+"), ("#BBAA00", "|"),
    ("#AA4466", "_"),
)  # fmt: skip


def method_name(method: str) -> str:
    """A method's name in figures; a method without an entry goes by its name in profiles."""
    return {**NETWORKS, **METHODS}.get(method, (method,))[0]


def look(method: str) -> tuple[str, str]:
    """Colour and marker of a method; one without an entry gets a spare pair that its name alone decides."""
    if method in METHODS or method in NETWORKS:
        _, colour, marker = {**NETWORKS, **METHODS}[method]
        return colour, marker
    return SPARE[zlib.crc32(method.encode()) % len(SPARE)]
