import matplotlib.pyplot as plt
import numpy as np
import polars as pl

from unicomp_lib.figures import diagnostics


def test_tasks_without_a_score_or_a_chance_level_are_shown_as_such():
    frames = {"judged": ([1.0, 0.0], 0.5), "open": ([1.0, 1.0], None), "not judged": ([None, None], None)}
    items = pl.concat(
        pl.DataFrame(
            {"task": task, "primary": True, "value": values, "cluster": ["a", "b"], "chance": chance},
            schema_overrides={"value": pl.Float64, "chance": pl.Float64},
        )
        for task, (values, chance) in frames.items()
    )
    figure = diagnostics.tasks(items)
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["no item has a value"]
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"{task} (n = 2)" for task in frames]
    assert [line.get_marker() for line in axes.lines].count("|") >= 1
    plt.close(figure)
    plt.close(diagnostics.tasks(items.clear()))


def title(figure):
    """Of the first panel, wherever the style in use puts it."""
    return "".join(figure.axes[0].get_title(loc) for loc in ("left", "center"))


def test_the_gain_of_one_block_has_no_interval():
    figure = diagnostics.gain(np.array([2.0]), np.array([1.0]))
    assert "no interval: one cluster" in title(figure)
    plt.close(figure)
    figure = diagnostics.gain(np.array([2.0, 3.0, 2.5]), np.array([1.0, 1.5, 1.2]))
    assert "95 % interval" in title(figure)
    plt.close(figure)
