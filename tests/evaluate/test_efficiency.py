import subprocess
import sys

import pytest

from unicomp_lib import models
from unicomp_lib.compress import checkpoint, quanto
from unicomp_lib.evaluate import efficiency


def test_both_models_are_measured_in_turn_and_their_files_are_read(tmp_path):
    model, tokenizer = models.load(models.TINY)
    checkpoint.save(quanto.compress(model), tokenizer, tmp_path, write=quanto.save)
    dense = models.checkpoint(models.TINY)[0]
    rows = efficiency.compare(str(tmp_path), models.TINY, precision="float32", prompt=16, generate=4, repeats=3)
    counts = dict(rows.group_by("metric").len().iter_rows())
    assert counts["decode"] == counts["decode_dense"] == counts["prefill"] == 3
    assert counts["peak_memory"] == counts["peak_memory_dense"] == 1
    assert (rows["value"] > 0).all()
    saved = dict(efficiency.footprint(str(tmp_path), dense).select("metric", "value").iter_rows())
    assert saved["bytes_on_disk"] < saved["bytes_on_disk_dense"]
    assert saved["bits_per_weight_dense"] == 16


def test_peak_memory_is_this_process_own():
    # In a fresh process: this one may have had a higher peak before, in another test.
    code = (
        "from unicomp_lib.evaluate import efficiency; before = efficiency.peak_memory();"
        "block = bytearray(200_000_000); block[::4096] = b'x' * len(block[::4096]);"
        "print(before, efficiency.peak_memory())"
    )
    parent = bytearray(600_000_000)
    parent[::4096] = b"x" * len(parent[::4096])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert after - before > 150_000_000


def test_a_process_that_dies_is_an_error_not_a_wait(tmp_path):
    with pytest.raises(RuntimeError, match="ended early"):
        efficiency.compare(str(tmp_path), models.TINY, precision="float32", prompt=4, generate=1, repeats=2)


def test_an_unknown_model_is_one_clear_sentence():
    with pytest.raises(ValueError, match="model 'no-such-model' is not known"):
        efficiency.compare("no-such-model", models.TINY, precision="float32")
