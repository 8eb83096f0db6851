import json

import pytest
import torch

from unicomp_lib import calibration


def test_blocks_have_their_shape_and_follow_the_seed(tiny):
    _, tokenizer = tiny
    first = calibration.blocks(tokenizer, samples=3, length=50, seed=1)
    assert first.shape == (3, 50)
    assert torch.equal(first, calibration.blocks(tokenizer, samples=3, length=50, seed=1))
    assert not torch.equal(first, calibration.blocks(tokenizer, samples=3, length=50, seed=2))


def test_calibration_and_held_out_text_share_no_article():
    titles = [
        {text.partition(" -- ")[0] for text in calibration.texts(source)}
        for source in (calibration.GENERAL, calibration.HELD_OUT)
    ]
    assert min(map(len, titles)) > 500
    assert not titles[0] & titles[1]


@pytest.mark.parametrize("suffix", [".txt", ".jsonl"])
def test_a_file_of_the_users_is_read(tiny, tmp_path, suffix):
    path = tmp_path / f"mine{suffix}"
    lines = ["one text", "another text"]
    path.write_text("\n".join(json.dumps({"text": line}) if suffix == ".jsonl" else line for line in lines))
    assert calibration.texts(str(path)) == lines
    assert calibration.blocks(tiny[1], str(path), samples=1, length=10).shape == (1, 10)
    with pytest.raises(ValueError, match=r"holds \d+ tokens, 100 samples of 10 need 1000"):
        calibration.blocks(tiny[1], str(path), samples=100, length=10)


def test_bad_input_is_one_clear_sentence(tiny):
    with pytest.raises(ValueError, match="calibration source 'c5' is not known"):
        calibration.blocks(tiny[1], "c5")
    with pytest.raises(ValueError, match="samples=0 and length=5 are not allowed"):
        calibration.blocks(tiny[1], samples=0, length=5)
