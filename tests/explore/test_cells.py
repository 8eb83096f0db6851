import subprocess
import sys

import pytest
from checkout import copied, environment

pytestmark = pytest.mark.slow

CODE = """
from unicomp_lib.explore import cells
model, tokenizer = cells.load({given})
weight = model.model.layers[0].mlp.up_proj.weight
print(round((weight == 0).float().mean().item(), 2), len(tokenizer))
"""


def load(checkout, given):
    command = [sys.executable, "-c", CODE.format(given=given)]
    return subprocess.run(command, cwd=checkout, env=environment(checkout), capture_output=True, text=True)


def test_a_cell_is_made_once_and_loaded(tmp_path):
    checkout = copied(tmp_path / "study")
    first, second = (load(checkout, "'wanda-2-4', profile='tiny', seed=0") for _ in range(2))
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    assert "compress/tiny/wanda-2-4/seed-0 has not been run yet; running it" in first.stdout
    assert "has not been run" not in second.stdout
    assert first.stdout.splitlines()[-1] == second.stdout.splitlines()[-1] == "0.5 257"


def test_a_cell_that_is_not_there_is_said(tmp_path):
    checkout = copied(tmp_path / "study")
    for given, says in (
        (
            "'wanda-60', profile='tiny'",
            "profile tiny has no cell compress/tiny/wanda-60; its models are tiny, its variants",
        ),
        ("'wanda-2-4', profile='tiny', seed=5", "profile tiny has no cell compress/tiny/wanda-2-4/seed-5"),
    ):
        assert f"ValueError: {says}" in load(checkout, given).stderr


def test_why_a_cell_cannot_be_made_is_said(tmp_path):
    checkout = copied(tmp_path / "study")
    notebook = checkout / "notebooks" / "compress" / "wanda.ipynb"
    text = notebook.read_text()
    assert '"model = wanda.compress(' in text
    notebook.write_text(text.replace('"model = wanda.compress(', "\"raise ValueError('no luck')  # model = (", 1))
    stderr = load(checkout, "'wanda-2-4', profile='tiny'").stderr
    assert "RuntimeError: failed: compress/tiny/wanda-2-4/seed-0: no luck" in stderr
    profile = checkout / "params" / "tiny.yaml"
    profile.write_text(profile.read_text().replace("sparsity: 0.5, pattern", "sparsity: 0.4, pattern"))
    stderr = load(checkout, "'wanda-2-4', profile='tiny'").stderr
    assert "sparsity=0.4, which contradicts pattern='2:4'" in stderr
