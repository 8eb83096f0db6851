import pytest
import torch

from unicomp_lib.vision import googlenet


def test_it_has_torchvisions_parameters_and_the_papers_units():
    model = googlenet.GoogLeNet()
    assert sum(weight.numel() for weight in model.parameters()) == 6_624_904  # torchvision's documentation
    assert sum(layer.out_channels for layer in googlenet.convolutions(model).values()) == 7280
    assert len(googlenet.convolutions(model)) == 57
    names = set(model.state_dict())
    assert {"conv1.conv.weight", "inception4e.branch3.1.bn.running_var", "inception5b.branch4.1.conv.weight"} <= names


def test_it_gives_what_torchvisions_gives():
    models = pytest.importorskip("torchvision.models", reason="torchvision does not import beside this torch")
    theirs = models.googlenet(weights=None, aux_logits=False, init_weights=False).eval()
    ours = googlenet.GoogLeNet().eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        assert torch.allclose(ours(x), theirs(x), atol=1e-5)
