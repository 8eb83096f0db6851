import pytest
import torch

from unicomp_lib.vision import masks, removal


@pytest.mark.parametrize("method", masks.METHODS)
def test_what_is_removed_changes_no_output(model, method):
    masks.apply(model, masks.select(model, method=method, share=0.5))
    small = removal.removed(model)
    x = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(small(x), model(x), atol=1e-5)
    fewer, less = removal.parameters(small) / removal.parameters(model), removal.macs(small) / removal.macs(model)
    expected = {"unstructured": (1, 1), "filters": (0.25, 0.27), "connections": (0.5, 0.54)}[method]
    assert (fewer, less) == pytest.approx(expected, abs=0.02)


def test_macs_are_those_of_the_formula():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1, bias=False))
    assert removal.macs(model, size=32) == 32 * 32 * 8 * 3 * 9


def test_latency_is_measured_in_turn(model):
    seconds = removal.latency({"one": model, "other": model}, size=32, batch=2, repeats=3)
    assert {name: len(times) for name, times in seconds.items()} == {"one": 3, "other": 3}
    assert all(time > 0 for times in seconds.values() for time in times)
