"""Integer products of every shape and alignment: exact or refused, never a process that dies."""

import os
import subprocess
import sys
from pathlib import Path

import families
import pytest
import torch

from unicomp_lib.checkpoints import int8, models, quanto_form, saving
from unicomp_lib.compress import quanto, students

WIDTHS = (48, 64, 80, 100)


def placed(tensor, offset):
    """A copy of a tensor that begins ``offset`` bytes after a multiple of 64, as in a safetensors file."""
    size = tensor.numel() * tensor.element_size()
    room = torch.empty(size + 128, dtype=torch.uint8)
    start = -room.data_ptr() % 64 + offset
    copy = room[start : start + size].view(tensor.dtype).view(tensor.shape)
    return copy.copy_(tensor)


def products():
    """quanto's product of every shape and place, beside that of floating-point numbers."""
    for inputs in (*WIDTHS, 4, 12, 16, 36, 104, 132):
        for outputs, rows in ((1, 1), (3, 2), (48, 1), (100, 5), (64, 17)):
            generator = torch.Generator().manual_seed(inputs)
            weight = torch.randint(-127, 128, (outputs, inputs), dtype=torch.int8, generator=generator)
            scale = (torch.rand(outputs, 1, generator=generator) + 0.5).bfloat16()
            batch = torch.randn(rows, inputs, generator=generator).bfloat16()
            exact = batch.float() @ (weight.float() * scale.float()).T
            for offsets in ((0, 0, 0), (8, 0, 0), (0, 8, 0), (0, 0, 8), (4, 2, 2)):
                given = [placed(part, offset) for part, offset in zip((weight, batch, scale), offsets, strict=True)]
                product = torch.ops.quanto.qbytes_mm(given[1], given[0], given[2])
                assert (product.float() - exact).norm() < 0.02 * exact.norm(), (inputs, outputs, rows, offsets)


@torch.no_grad()
def reloads(folder):
    """Models of many depths and widths by quanto, read back and run."""
    tokenizer, tokens = models.load_tokenizer(models.TINY), families.tokens(2, 40)
    cases = [(layers, 64) for layers in range(2, 9)] + [(2, width) for width in WIDTHS]
    for layers, width in cases:
        model = families.build("llama", layers=layers, hidden_size=width, intermediate_size=2 * width, head_dim=16)
        model = quanto.compress(students.cast(model, torch.bfloat16), weights="int8")
        place = Path(folder) / f"{layers}-{width}"
        saving.save(model, tokenizer, place, write=quanto_form.save)
        again, _ = models.load(str(place), on="cpu")
        assert torch.equal(again(tokens).logits, model(tokens).logits), (layers, width)


@pytest.mark.parametrize("work", ["products()", "reloads(sys.argv[1])"])
def test_quanto_neither_dies_nor_errs_at_any_shape(work, tmp_path):
    here = Path(__file__)
    script = (
        f"import sys; sys.path[:0] = {[str(here.parent), str(here.parent.parent)]}; from test_kernels import *; {work}"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, f"ended with {done.returncode}: {done.stderr[-500:]}"


@pytest.mark.parametrize("inputs", [4, 12, 16, 50, 64, 100])
def test_products_of_integers_are_exact(inputs):
    for outputs, rows in ((1, 1), (3, 17), (64, 2), (100, 5)):
        weight = torch.randint(-128, 128, (outputs, inputs), dtype=torch.int8)
        codes = torch.randint(-128, 128, (rows, inputs), dtype=torch.int8)
        for offset in (0, 1, 8):
            product = int8.multiply(placed(codes, offset), placed(weight, offset))
            assert torch.equal(product.long(), codes.long() @ weight.long().T)
