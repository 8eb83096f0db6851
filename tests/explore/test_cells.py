import subprocess
import sys

import pytest
from checkout import copied, environment

pytestmark = pytest.mark.slow

CODE = """
import sys
from unicomp_lib.explore import cells
for given in sys.argv[1:]:
    try:
        model, tokenizer = eval(f"cells.load({given})")
    except (ValueError, RuntimeError) as error:
        print(f"{type(error).__name__}: {error}")
    else:
        weight = model.model.layers[0].mlp.up_proj.weight
        print(round((weight == 0).float().mean().item(), 2), len(tokenizer))
"""


def load(checkout, *given):
    """What a process prints that loads cells one after the other: it imports for seconds."""
    command = [sys.executable, "-c", CODE, *given]
    done = subprocess.run(command, cwd=checkout, env=environment(checkout), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_cell_is_made_once_and_loaded(tmp_path):
    checkout = copied(tmp_path / "study")
    made, first, second = load(checkout, *["'wanda-2-4', profile='tiny', seed=0"] * 2).splitlines()
    assert made.startswith("compress/tiny/wanda-2-4/seed-0 has not been run yet; running it")
    assert first == second == "0.5 257"


def test_a_cell_that_is_not_there_is_said(tmp_path):
    checkout = copied(tmp_path / "study")
    variant, seed = load(
        checkout, "'wanda-60', profile='tiny'", "'wanda-2-4', profile='tiny', seed=5"
    ).splitlines()  # fmt: skip
    says = "ValueError: profile tiny has no cell compress/tiny"
    assert variant.startswith(f"{says}/wanda-60; its models are tiny, its variants")
    assert seed.startswith(f"{says}/wanda-2-4/seed-5")


def test_why_a_cell_cannot_be_made_is_said(tmp_path):
    checkout = copied(tmp_path / "study")
    notebook = checkout / "notebooks" / "compress" / "wanda.ipynb"
    text = notebook.read_text()
    assert '"model = wanda.compress(' in text
    notebook.write_text(text.replace('"model = wanda.compress(', "\"raise ValueError('no luck')  # model = (", 1))
    said = load(checkout, "'wanda-2-4', profile='tiny'")
    assert "RuntimeError: failed: compress/tiny/wanda-2-4/seed-0: no luck" in said
    profile = checkout / "params" / "tiny.yaml"
    profile.write_text(profile.read_text().replace("sparsity: 0.5, pattern", "sparsity: 0.4, pattern"))
    said = load(checkout, "'wanda-2-4', profile='tiny'")
    assert "sparsity=0.4, which contradicts pattern='2:4'" in said
