import base64

import matplotlib.pyplot as plt
from IPython.utils.capture import capture_output

from unicomp_lib.learn import sliders


def test_the_picture_of_the_middle_values_stays_and_the_sliders_redraw(monkeypatch):
    open_before = plt.get_fignums()
    drawn, shown = [], []

    def draw(height):
        drawn.append(height)
        figure, axes = plt.subplots(figsize=(1, 1))
        axes.bar([0], [height])
        return figure

    monkeypatch.setattr(sliders, "display", lambda bundle, raw: shown.append(bundle))
    made = []
    monkeypatch.setattr(sliders, "VBox", lambda parts: made.append(parts) or sliders.Image())
    sliders.show(draw, height=[1, 2, 3])
    assert drawn == [2]
    (bundle,), ((slider, picture),) = shown, made
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert base64.b64decode(bundle["image/png"]) == picture.value
    before = picture.value
    with capture_output():
        slider.value = 3
    assert drawn == [2, 3]
    assert picture.value != before
    assert plt.get_fignums() == open_before
