"""The walks of CONTRIBUTING.md, walked: every file written, every patch applied, every command run."""

import re
import shlex
import shutil
import subprocess
import sys

import pytest
import torch
from checkout import copied, environment, unicomp

from unicomp_lib import paths, tables
from unicomp_lib.checkpoints import models
from unicomp_lib.study import records

TEXT = (paths.project() / "CONTRIBUTING.md").read_text()


def walk(title):
    """The fenced blocks of one section, in order: (language, file, content)."""
    section = re.search(rf"^## {title}.*?(?=^## |\Z)", TEXT, flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"^```(\w+) ?(\S*)\n(.*?)^```", section[0], flags=re.DOTALL | re.MULTILINE)


def take(checkout, language, file, content):
    """One block, as its reader would."""
    if file:
        (checkout / file).parent.mkdir(parents=True, exist_ok=True)
        (checkout / file).write_text(content)
    elif language == "diff":
        done = subprocess.run(["patch", "-p1", "--fuzz=0"], cwd=checkout, input=content, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    else:
        for line in content.splitlines():
            run(checkout, line)


def run(checkout, line):
    words = shlex.split(line)
    if line.startswith("sed "):
        done = subprocess.run(line, shell=True, cwd=checkout, capture_output=True, text=True)
    elif words[:3] == ["nox", "-s", "tests"]:
        command = [sys.executable, "-m", "pytest", *words[4:]]
        done = subprocess.run(command, cwd=checkout, env=environment(checkout), capture_output=True, text=True)
    elif words[:3] == ["nox", "-s", "versions"]:
        command = [sys.executable, "-m", "unicomp_lib.study.versions", *words[4:]]
        done = subprocess.run(command, cwd=checkout, env=environment(checkout), capture_output=True, text=True)
    else:
        assert words[:2] == ["nox", "-s"]
        done = unicomp(checkout, words[2], *words[4:])
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_name_in_the_walk_of_a_seed_is_a_file():
    section = TEXT.partition("## One calibration seed, from a profile to a figure\n")[2].partition("\n## ")[0]
    steps = re.findall(r"^\d+\. .*$", section, flags=re.MULTILINE)
    assert len(steps) == 10
    for step in steps:
        names = re.findall(r"`([^`]+)`", step)
        assert names
        assert [name for name in names if not (paths.project() / name).is_file()] == []


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    target = copied(tmp_path_factory.mktemp("walk") / "study")
    shutil.copy(paths.project() / "pyproject.toml", target)
    (target / "tests").mkdir()
    for helper in ("conftest.py", "checkout.py", "pretended.py"):
        shutil.copy(paths.project() / "tests" / helper, target / "tests")
    return target


def test_a_method(checkout):
    for block in walk("Add a compression method"):
        take(checkout, *block)
    (run_,) = (checkout / "runs").glob("evaluate.tiny.chance-50.fidelity-*")
    items = tables.read(run_ / "items.parquet")
    assert set(items["method"]) == {"chance"}
    assert items.filter(metric="nll")["value"].is_finite().all()


def test_a_task(checkout):
    for block in walk("Add a task"):
        take(checkout, *block)
    (run_,) = (checkout / "runs").glob("evaluate.tiny.dense.performance-*")
    items = tables.read(run_ / "items.parquet").filter(task="capitals_cloze", metric="acc_norm")
    assert len(items) == 3


def test_a_model_of_another_family(checkout):
    from transformers import Qwen2Config, Qwen2ForCausalLM

    _, tokenizer = models.load(models.TINY, precision="float32")
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, bos_token_id=0, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(checkout / "checkpoints" / "mine")
    tokenizer.save_pretrained(checkout / "checkpoints" / "mine")
    for block in walk("Add a model"):
        take(checkout, *block)
    (run_,) = (checkout / "runs").glob("evaluate.mine.magnitude-50.fidelity-*")
    assert records.finished(run_)
