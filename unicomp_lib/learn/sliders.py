"""A figure with controls, which is a plain picture where no kernel runs."""

import base64
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

import matplotlib.pyplot as plt
from IPython.display import display
from ipywidgets import Image, Layout, SelectionSlider, VBox
from matplotlib.figure import Figure

VERSION = "1"


def show(draw: Callable[..., Figure], **choices: Sequence[Any]) -> None:
    """Display ``draw(name=value, ...)`` with a slider for each of ``choices``, names with their allowed values.

    In Jupyter the figure follows the sliders. A web page, or a viewer without widgets, shows the picture
    of the middle values instead.
    """
    middle = {name: values[len(values) // 2] for name, values in choices.items()}
    still = _picture(draw(**middle))
    # An image, not ipywidgets' Output, with which papermill and the kernel would wait for each other.
    picture = Image(value=still, format="png", layout=Layout(max_width="100%", object_fit="contain"))
    controls = {
        name: SelectionSlider(options=list(values), value=middle[name], description=name, continuous_update=False)
        for name, values in choices.items()
    }

    def redraw(_: object) -> None:
        picture.value = _picture(draw(**{name: control.value for name, control in controls.items()}))

    for control in controls.values():
        control.observe(redraw, names="value")
    widget = VBox([*controls.values(), picture])
    bundle = {**widget._repr_mimebundle_(), "image/png": base64.b64encode(still).decode()}
    display(bundle, raw=True)


def _picture(figure: Figure) -> bytes:
    content = BytesIO()
    figure.savefig(content, format="png", dpi=figure.dpi)  # not the resolution of a figure in print
    plt.close(figure)
    return content.getvalue()
