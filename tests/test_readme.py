"""Every command of README.md and CONTRIBUTING.md is one that exists and takes what it is given."""

import re
import shlex
import subprocess
import sys

import pytest
import yaml

from unicomp_lib import paths

TEXTS = {name: (paths.project() / name).read_text() for name in ("README.md", "CONTRIBUTING.md")}


def commands():
    found = []
    for text in TEXTS.values():
        text = text.partition("## Add a compression method: a walk")[0]  # the walks have a test of their own
        for block in re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL):
            for line in block.splitlines():
                found += [part.strip() for part in line.partition("#")[0].split("&&") if part.strip()]
    return sorted(set(found))


@pytest.mark.parametrize("command", [each for each in commands() if each.startswith("nox")])
def test_nox_commands(command):
    words = shlex.split(command)
    assert words[1] == "-s"
    noxfile = (paths.project() / "noxfile.py").read_text()
    assert f"def {words[2]}(session" in noxfile
    rest = words[words.index("--") + 1 :] if "--" in words else []
    if words[2] in ("reproduce", "status"):
        dry = ["--dry-run"] if words[2] == "reproduce" and "--help" not in rest else []
        rest = [word for word in rest if not word.startswith("tcp:") and word != "--scheduler"]
        done = subprocess.run(
            [sys.executable, "-m", "unicomp_lib", words[2], *rest, *dry], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    elif words[2] in ("bench", "label", "prefetch", "report"):
        program = [f"bench/{rest[0]}.py"] if words[2] == "bench" else ["-m", "unicomp_lib", words[2], *rest[:1]]
        program = [word for word in program if not word.startswith("--")]
        done = subprocess.run([sys.executable, *program, "--help"], cwd=paths.project(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        given = {word for word in rest if word.startswith("--")}
        assert given <= set(re.findall(r"--[\w-]+", done.stdout))


def test_the_other_commands_are_known():
    allowed = ("nox ", "pip install nox", "papermill notebooks/", "conda ", "git clone", "cd ")
    assert [each for each in commands() if not each.startswith(allowed)] == []


def test_papermill_commands_name_a_notebook_and_its_parameters():
    from unicomp_lib.study import notebooks

    found = [shlex.split(each) for each in commands() if each.startswith("papermill ")]
    assert found
    for words in found:
        name = words[1].removeprefix("notebooks/").removesuffix(".ipynb")
        given = {words[place + 1] for place, word in enumerate(words) if word == "-p"}
        assert given <= set(notebooks.defaults(name))


def test_ci_runs_exactly_the_test_command():
    assert "pip install nox && nox -s tests" in TEXTS["README.md"]
    assert (paths.project() / ".ci" / "run").read_text().splitlines()[-1] == "pip install nox && nox -s tests"


def test_pictures_and_links_of_the_readme_exist():
    for text in TEXTS.values():
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            if not target.startswith("http"):
                assert (paths.project() / target).exists(), target


def test_conda_and_pip_read_the_same_lock():
    environment = yaml.safe_load((paths.project() / "environment.yml").read_text())
    assert environment["dependencies"][-1]["pip"] == ["-r requirements.lock", "-e ."]
    lock = [
        line for line in (paths.project() / "requirements.lock").read_text().splitlines() if not line.startswith("#")
    ]
    assert "torch==2.13.0" in lock
    assert all(re.fullmatch(r"[\w.-]+==[\w.!]+", line) for line in lock)


def test_results_read_by_default_are_those_of_the_committed_figures():
    import polars as pl

    scores = pl.read_parquet(paths.project() / "results" / "embedded" / "scores.parquet")
    shown = pl.read_csv(paths.project() / "figures" / "embedded" / "retention.csv")
    for row in shown.iter_rows(named=True):
        match = scores.filter(
            pl.col("variant") == row["variant"], pl.col("capability") == row["capability"],
            pl.col("format") == row["format"], pl.col("metric") == row["metric"], pl.col("seed").is_null(),
        )  # fmt: skip
        assert match["value"].to_list() == [pytest.approx(row["value"], nan_ok=True)]
