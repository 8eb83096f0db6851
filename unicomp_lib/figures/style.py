"""Sizes, fonts and grid shared by all figures of the study."""

import matplotlib as mpl
import seaborn as sns

COLUMN = 3.5  # inches, width of one column of a paper
PAGE = 7.2  # inches, width of both columns


def use() -> None:
    """Set fonts, sizes and grid for all figures of the study."""
    sns.set_theme(context="paper", style="whitegrid", font_scale=0.9)
    mpl.rcParams.update(
        {
            "figure.dpi": 120, "savefig.dpi": 300, "savefig.bbox": "tight", "figure.constrained_layout.use": True,
            # Text stays text, and equal input gives identical bytes.
            "svg.fonttype": "none", "svg.hashsalt": "unicomp", "axes.titlelocation": "left",
        }
    )  # fmt: skip
