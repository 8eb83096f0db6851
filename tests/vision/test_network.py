import os

import pytest
import torch

from unicomp_lib.vision import network


def test_a_saved_network_is_the_same_when_loaded(model, tmp_path):
    network.save(model, tmp_path / "checkpoint")
    assert network.load(str(tmp_path / "checkpoint")).epochs == 0
    model.epochs = 3
    network.save(model, tmp_path / "checkpoint")
    assert network.load(str(tmp_path / "checkpoint")).epochs == 3
    assert {file.suffix for file in (tmp_path / "checkpoint").iterdir()} == {".safetensors", ".json"}
    loaded = network.load(str(tmp_path / "checkpoint"))
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded(x), model(x))


def test_torchvisions_weights_load_without_their_auxiliary_heads(model, tmp_path):
    state = {**model.state_dict(), "aux1.fc1.weight": torch.zeros(3)}
    torch.save(state, tmp_path / "weights.pth")
    loaded = network.new(3, weights=str(tmp_path / "weights.pth"))
    assert torch.equal(loaded.fc.weight, model.fc.weight)
    with pytest.raises(
        ValueError, match=r"weights.pth is not a GoogLeNet of 9 classes \(size mismatch .*; give another"
    ):
        network.new(9, weights=str(tmp_path / "weights.pth"))


def test_a_folder_without_a_network_is_reported(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"contains no network; run notebooks/vision/train.ipynb first"):
        network.load(str(tmp_path))
    monkeypatch.setenv("UNICOMP_HOME", str(tmp_path))
    with pytest.raises(ValueError, match="vision-train/checkpoint contains no network"):
        network.load("")


def test_without_a_checkpoint_the_network_that_was_saved_last_by_hand_is_taken(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("UNICOMP_HOME", str(tmp_path))
    for place, name in enumerate(("vision-train", "vision-train-1a2b3c4d", "vision-train-00000000")):
        folder = network.save(
            network.new(["ape", "bee", "cow"][: place + 1]), tmp_path / "scratch" / name / "checkpoint"
        )
        os.utime(folder / network.ABOUT, (place, place))
    assert network.load("").classes == ["ape", "bee", "cow"]
    assert capsys.readouterr().out == f"the network is that of {folder}\n"


def test_names_of_classes_are_kept_where_they_are_known(model, tmp_path):
    network.save(network.new(["ape", "bee"]), tmp_path / "named")
    assert network.load(str(tmp_path / "named")).classes == ["ape", "bee"]
    network.save(model, tmp_path / "plain")
    assert network.load(str(tmp_path / "plain")).classes == []
    (tmp_path / "plain" / network.ABOUT).write_text('{"classes": 3}')  # of an earlier version
    assert network.load(str(tmp_path / "plain")).classes == []


def test_weights_that_are_not_finite_are_refused(model, tmp_path):
    model.conv2.conv.weight.data[0] = float("nan")
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"weights.pth: the weight or statistic of conv2.conv.weight is not finite"):
        network.new(3, weights=str(tmp_path / "weights.pth"))
