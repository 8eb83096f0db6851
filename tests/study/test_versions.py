"""The guard on VERSION, in a copy of the checkout: what it refuses, and what it lets pass."""

import ast
import json
import re
import subprocess
import sys

import pytest
from checkout import environment

from unicomp_lib.study import code, versions


def guard(checkout, *arguments):
    command = [sys.executable, "-m", "unicomp_lib.study.versions", *arguments]
    done = subprocess.run(command, cwd=checkout, env=environment(checkout), capture_output=True, text=True)
    return done.returncode, (done.stdout + done.stderr).splitlines()


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.fixture
def wanda(copy):
    """A module of a copied checkout in which all versions are recorded."""
    assert guard(copy, "--same", *json.loads((copy / "unicomp_lib" / "versions.json").read_text()))[0] == 0
    return copy / "unicomp_lib" / "compress" / "wanda.py"


def test_the_checkout_is_as_recorded():
    assert versions.check(versions.state(), versions._recorded()) == []


def test_code_that_changes_is_refused_until_its_version_is_raised(copy, wanda):
    today = int(re.search(r'VERSION = "(\d+)"', wanda.read_text())[1])
    before = (copy / "unicomp_lib" / "versions.json").read_bytes()
    edit(wanda, "@torch.no_grad()", "UNUSED = 1\n\n\n@torch.no_grad()")
    code_, lines = guard(copy, "--check")
    assert code_ == 1
    (line,) = lines
    assert line.startswith(f"wanda changed and is still version {today}: raise its VERSION if results change, or say")
    assert line.endswith("nox -s versions -- --same wanda")
    assert guard(copy)[0] == 1  # recording does not launder it
    assert (copy / "unicomp_lib" / "versions.json").read_bytes() == before
    edit(wanda, f'VERSION = "{today}"', f'VERSION = "{today + 1}"')
    raised = f"wanda at version {today + 1} is not recorded yet; record it with: nox -s versions"
    assert guard(copy, "--check") == (1, [raised])
    assert guard(copy)[0] == 0
    assert guard(copy, "--check")[0] == 0


def test_the_same_results_are_said_on_purpose(copy, wanda):
    edit(wanda, "@torch.no_grad()", "UNUSED = 1\n\n\n@torch.no_grad()")
    assert guard(copy, "--same", "wanda")[0] == 0
    assert guard(copy, "--check")[0] == 0
    code_, lines = guard(copy, "--same", "wonda")
    assert code_ == 2
    assert lines[0].startswith("error: no module is named 'wonda'; allowed are ")


def test_a_module_that_is_new_needs_a_version_and_a_record(copy, wanda):
    (wanda.parent / "fresh.py").write_text("LIMIT = 1\n")
    edit(wanda, "import torch\n", "import torch\n\nfrom unicomp_lib.compress import fresh\n")
    lines = guard(copy, "--check")[1]
    assert 'fresh is called by notebooks and declares no VERSION; add VERSION = "1"' in lines
    (wanda.parent / "fresh.py").write_text('VERSION = "1"\nLIMIT = 1\n')
    assert "fresh at version 1 is not recorded yet; record it with: nox -s versions" in guard(copy, "--check")[1]


def test_two_modules_of_one_name_are_refused(copy, wanda):
    (copy / "unicomp_lib" / "evaluate" / "wanda.py").write_text('VERSION = "1"\n')
    edit(wanda, "import torch\n", "import torch\n\nfrom unicomp_lib.evaluate import wanda as other\n")
    assert any(line.startswith("two modules are named wanda") for line in guard(copy, "--check")[1])


def test_comments_docstrings_layout_and_places_of_imports_are_no_change(copy, wanda):
    text = wanda.read_text()
    tree = ast.parse(text)
    docstring = ast.get_docstring(tree, clean=False)
    wanda.write_text("# a remark\n" + text.replace(docstring, "Other words.").replace("\n\n\n", "\n\n\n\n\n"))
    assert guard(copy, "--check")[0] == 0


FROM = "from unicomp_lib.compress"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("from unicomp_lib.compress import wanda", "from unicomp_lib.learn import wanda", False),  # not there
        ("x = 1  # why", "x  =  1", True),
        ("def f():\n    '''Say.'''\n    return 1", "def f():\n    return 1", True),
        ("def f():\n    '''Say.'''", "def f():\n    pass", False),
        ("x = 1", "x = 2", False),
        ("x = 0", "x = None", False),
        ("x = []", "x = ()", False),
        ("x = 'a'", 'x = "a"', True),
        (f"{FROM} import awq, gptq", f"{FROM} import gptq\n{FROM} import awq", True),
        ("from unicomp_lib.compress import awq", "from unicomp_lib.compress import gptq as awq", False),
        ("import torch", "import numpy as torch", False),
    ],
)  # fmt: skip
def test_what_counts_as_the_same_code(one, other, same):
    assert (code.text(ast.parse(one)) == code.text(ast.parse(other))) == same
