"""Every wrong usage ends in one sentence and a code other than 0, never in a traceback."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml
from checkout import environment, unicomp

from unicomp_lib import __main__ as command_line
from unicomp_lib import hardware, paths
from unicomp_lib.study import commands, hints, notebooks, prefetch, records, slurm


def run(*arguments):
    """The code of a command, also of one that leaves while its options are read."""
    try:
        return command_line.main(list(arguments))
    except SystemExit as end:
        return end.code


def refused(capsys, *arguments):
    """The one sentence with which a command refuses."""
    code = run(*arguments)
    said = capsys.readouterr().err
    assert code == 2, said
    assert re.fullmatch(r"error: [^\n]+\n", said)
    assert "Traceback" not in said
    return said


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Notebooks and profiles that a test may break, in place of the checkout's."""
    root = tmp_path / "study"
    for part in ("notebooks", "params"):
        shutil.copytree(paths.project() / part, root / part)
    monkeypatch.setattr(paths, "project", lambda: root)
    for cached in (notebooks._cells, notebooks.fingerprint, notebooks.data):
        cached.cache_clear()
    yield root
    for cached in (notebooks._cells, notebooks.fingerprint, notebooks.data):
        cached.cache_clear()


@pytest.mark.parametrize("name", command_line.COMMANDS)
def test_help_says_how_the_command_is_called(capsys, name):
    assert run(name, "--help") == 0
    assert capsys.readouterr().out.startswith(f"usage: nox -s {name} -- ")


def test_help_and_version_load_nothing_heavy():
    code = (
        "import sys\nfrom unicomp_lib.__main__ import main\n"
        "try:\n    main(['reproduce', '--help'])\nexcept SystemExit:\n    pass\n"
        "print('loaded', *({'torch', 'polars', 'pydantic', 'nbformat', 'distributed', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(paths.project())
    )
    assert done.stdout.splitlines()[-1] == "loaded", done.stdout + done.stderr


def test_the_version_names_the_commit(capsys):
    assert run("--version") == run("status", "--version") == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == second
    commit = records.commit()["commit"]
    assert re.match(r"unicomp-lib \d+\.\d+", first)
    assert commit is None or commit[:12] in first


def test_batch_systems_are_those_of_the_scheduler():
    assert command_line.SYSTEMS == slurm.SYSTEMS


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["reproduce", "--prfile", "tiny"], "unrecognized arguments: --prfile tiny; see "),
        (["reproduc"], "invalid choice: 'reproduc'"),
        ([], "the following arguments are required"),
        (["reproduce", "--workers", "two"], "invalid int value: 'two'; see nox -s reproduce -- --help"),
        (["reproduce", "--profile", "tiny", "--workers", "0"], "--workers 0 is not allowed"),
        (["reproduce", "--profile", "tiny", "--per-device", "0"], "--per-device 0 is not allowed"),
        (["reproduce", "--profile", "embeded"], "profile 'embeded' is not there; .*; did you mean 'embedded'?"),
        (["reproduce", "--profile", "assets"], "profile 'assets' is not there; allowed are embedded"),
        (["status", "--profile", "nowhere/mine.yaml"], "profile 'nowhere/mine.yaml' is not there"),
        (
            ["reproduce", "--profile", "tiny", "--only", "compress/tiny/dens"],
            "no step matches 'compress/tiny/dens'; did you mean 'compress/tiny/dense'\\? .*"
            "nox -s reproduce -- --profile tiny --dry-run",
        ),
        (["reproduce", "--only", "audio/*"], "all names: nox -s reproduce -- --dry-run"),
        (["reproduce", "--profile", "tiny", "--force", "x"], "--force 'x' matches no step; .*--profile tiny --dry-run"),
        (["status", "--profile", "tiny", "--only", "figures/fidelty"], "did you mean 'figures/fidelity'"),
        (["label", "draw", "x.csv", "--number", "0"], "--number 0 is not allowed"),
        (["label", "score", "not-there.csv"], "not-there.csv"),
        (["clean", "--profile", "huge"], "profile 'huge' is not there"),
    ],
)
def test_a_wrong_option_is_one_sentence(capsys, arguments, says):
    assert re.search(says, refused(capsys, *arguments))


@pytest.mark.parametrize(
    ("devices", "arguments", "says"),
    [
        ([], ["--per-device", "2"], "--per-device 2 needs an accelerator that torch can use, and there is none here"),
        (["0"], ["--per-device", "2", "--cluster", "slurm"], "is about the accelerators of this machine"),
        (["0"], ["--per-device", "2", "--scheduler", "tls://h:1"], "is about the accelerators of this machine"),
        (["0"], ["--workers", "2"], "2 is more than the 1 accelerator here; .* --per-device; give at most 1"),
        (["0", "1"], ["--workers", "7", "--per-device", "3"], "2 accelerators here with 3 steps on each; .* at most 6"),
    ],
)  # fmt: skip
def test_steps_share_accelerators_as_far_as_is_allowed(capsys, monkeypatch, devices, arguments, says):
    monkeypatch.setattr(hardware, "devices", lambda: devices)
    assert re.search(says, refused(capsys, "reproduce", "--profile", "tiny", *arguments))


def test_without_a_number_there_are_as_many_workers_as_may_share(capsys, monkeypatch):
    monkeypatch.setattr(hardware, "devices", lambda: ["0", "1"])
    for arguments, number in (([], 2), (["--per-device", "3"], 6), (["--per-device", "3", "--workers", "4"], 4)):
        options = command_line._parser().parse_args(["reproduce", *arguments])
        commands._check_workers(options)
        assert options.workers == number


def test_a_scheduler_is_looked_for_before_anything_is_downloaded(copy, tmp_path):
    done = unicomp(
        copy, "reproduce", "--profile", "tiny", "--scheduler", "nowhere", UNICOMP_HOME=str(tmp_path / "home")
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: no Dask scheduler answers at 'nowhere'")
    assert not list(tmp_path.glob("home/**/*.*"))


def edited(folder, edit, name="mine.yaml"):
    content = yaml.safe_load((paths.project() / "params" / "tiny.yaml").read_text(encoding="utf-8"))
    edit(content)
    path = folder / name
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return str(path)


def wanda(**values):
    return lambda content: content["compressions"]["wanda-2-4"].update(values)


def tasks(**values):
    return lambda content: content["evaluations"]["performance"]["tasks"].update(values)


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (wanda(pattern="4:2"), "pattern='4:2'; n:m keeps n of every m weights, with 0 < n < m"),
        (wanda(pattern="1:4"), "sparsity=0.5, which contradicts pattern='1:4': it removes 0.75"),
        (wanda(method="wonda"), "did you mean 'wanda'"),
        (wanda(base="magnitude-5"), "did you mean 'magnitude-50'"),
        (wanda(checkpoint="here"), "gives 'checkpoint', which the study sets itself; remove it"),
        (wanda(seed=3), "gives both seed and seeds; remove seed"),
        (wanda(calibration="mine.txt"), "calibration source 'mine.txt' is not known"),
        (wanda(calibration="genral"), "did you mean 'general'"),
        (lambda c: c["calibration"].update(sampels=4), "gives 'sampels', which no .*; did you mean 'samples'"),
        (lambda c: c["compressions"]["quanto-int8"].update(weights="int9"), "weights='int9'; allowed are int8, .*int4"),
        (lambda c: c["compressions"].update(r={"method": "rtn", "bits": 5}), "gives bits=5, which is not allowed"),
        (
            lambda c: c["compressions"].update(a={"method": "smoothquant", "alpha": "1e-1"}),
            "YAML reads 1e-1 as a text: write 1.0e-1",
        ),
        (
            lambda c: c["models"].update(tiny="smollm2-135m"),
            "model 'smollm2-135m' is not known; did you mean 'smollm2-",
        ),
        (lambda c: c["models"].update(tiny="owner/name"), "needs its revision, .*: owner/name@<commit>"),
        (lambda c: c["models"].update(tiny="./nowhere"), "model './nowhere' is not known"),
        (lambda c: c["models"].update(tiny="notebooks/learn"), "holds no checkpoint: it has no config.json"),
        (lambda c: c["models"].update(tiny="langtest"), "model 'langtest' is not known"),
        (lambda c: c["evaluations"]["performance"].update(tasks={}), "lists no tasks; add some, such as tasks: {"),
        (lambda c: c["evaluations"]["performance"].pop("tasks"), "lists no tasks"),
        (lambda c: c["evaluations"]["performance"].update(data_dir="nowhere"), "data_dir 'nowhere' .* is not a folder"),
        (tasks(piqa_close=3), "task 'piqa_close' is not known; did you mean 'piqa_cloze'"),
        (
            lambda c: c["evaluations"].update(perfomance={}),
            "notebook 'evaluate/perfomance' .*did you mean 'performance'",
        ),
        (lambda c: c.update(figures=["fidelty"]), "did you mean 'fidelity'"),
        (lambda c: c.update(modles={}), "unknown key 'modles'; allowed are .*; did you mean 'models'"),
        (
            lambda c: c.update(cluster={"jbos": 3}),
            "unknown key 'cluster.jbos'; allowed are account, .*, time; did you mean 'jobs'",
        ),
        (
            lambda c: c.update(vision={"prunnings": {}}),
            "'vision.prunnings'; allowed are interpretability, prunings, shared, train; did you mean 'prunings'",
        ),
        (
            lambda c: c.update(vision={"shared": {"dat": "emoji"}}),
            "vision.shared .* gives 'dat', .*did you mean 'data'",
        ),
        (
            lambda c: c.update(vision={"prunings": {"a": {"scope": "globl"}}}),
            "scope='globl'; allowed are layerwise, global; did you mean 'global'",
        ),
        (
            lambda c: c.update(vision={"prunings": {"a": {"schedule": "iterative", "epochs": 3}}}),
            "epochs=3, which 2 steps cannot divide",
        ),
    ],
)
def test_a_wrong_profile_is_one_sentence_before_anything_runs(capsys, tmp_path, edit, says):
    found = refused(capsys, "reproduce", "--profile", edited(tmp_path, edit), "--dry-run")
    assert re.search(says, found), found


TINY = "models: {tiny: tiny-random-llama}\ncompressions:\n  dense: {method: dense}\nevaluations: {}\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (TINY + "precision: float32\nprecision: auto\n", "mine.yaml: line 6 gives 'precision' a second time"),
        (TINY.replace("dense}", "dense}\n  dense: {method: wanda}"), "line 4 gives 'dense' a second time"),
        (
            TINY.replace("dense}", "dense}\n  w: {method: wanda, pattern: 2:4}"),
            'line 4 gives 2:4 without quotes, which YAML reads as the number 124; quote it: "2:4"',
        ),
        (TINY + "cluster: {time: 12:00:00}\n", 'quote it: "12:00:00"'),
        ("models: [", "mine.yaml is no valid YAML"),
        ("- a\n", "mine.yaml must be a mapping"),
        ("", "mine.yaml must be a mapping"),
        ("? [a]\n: b\n", r"line 1 has \['a'\] as a name"),
        (TINY.replace("tiny:", "größe:").encode("latin-1"), "mine.yaml is not in UTF-8"),
        (b"\x00\x01\x02", "mine.yaml is no valid YAML"),
        (TINY + "x: !!python/object/apply:os.system [ls]\n", "mine.yaml is no valid YAML"),
    ],
)
def test_a_file_that_is_no_clean_yaml_is_named_with_what_is_wrong(capsys, tmp_path, text, says):
    path = tmp_path / "mine.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert re.search(says, refused(capsys, "status", "--profile", str(path)))


@pytest.mark.parametrize("name", ["assets", "published"])
def test_the_other_files_of_params_give_no_key_twice(name):
    from unicomp_lib.study import strict_yaml

    assert strict_yaml.read(paths.project() / "params" / f"{name}.yaml")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "compress/wanda.ipynb is no notebook, since it is no valid JSON"),
        ("[1]", "compress/wanda.ipynb is no notebook of format 4"),
        ('{"cells": [{"cell_type": "code"}]}', "compress/wanda.ipynb is no notebook of format 4"),
        (b"\xff\xfe{\x00", "compress/wanda.ipynb is not in UTF-8"),
        ('{"cells": []}', "compress/wanda has 0 cells tagged 'parameters'"),
        ("x = (", "a code cell of compress/wanda.ipynb is no valid Python"),
        ("x = open('a')", "x is open\\('a'\\); give it a plain value"),
        ("x: int", "holds more than assignments of literals"),
        ("x += 1", "holds more than assignments of literals"),
    ],
)
def test_a_notebook_in_the_middle_of_an_edit_is_named(capsys, study, content, says):
    if isinstance(content, str) and content.startswith("x"):
        cell = {"cell_type": "code", "source": content, "metadata": {"tags": ["parameters"]}}
        content = f'{{"cells": [{__import__("json").dumps(cell)}]}}'
    path = study / "notebooks" / "compress" / "wanda.ipynb"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert re.search(says, refused(capsys, "status", "--profile", "tiny"))


def test_a_profile_elsewhere_does_not_write_where_another_one_does(capsys, study, tmp_path):
    for name, given in (("embedded.yaml", None), ("Embedded.yaml", None), ("mine.yaml", "tiny")):
        path = edited(tmp_path, lambda content, given=given: content.update(name=given) if given else None, name)
        assert re.search("and would replace the results of the profile", refused(capsys, "status", "--profile", path))
    inside = edited(study / "params", lambda content: content.update(name="embedded"))
    assert "but a profile in params/ is called by its file" in refused(capsys, "status", "--profile", "mine")
    os.remove(inside)
    # Of two files of one name, the first to publish keeps it; a file that is gone does not.
    (tmp_path / "other").mkdir()
    first = edited(tmp_path, lambda content: None)
    second = edited(tmp_path / "other", lambda content: None)
    commands.params.own_results(commands.params.load(first))
    assert run("status", "--profile", first) == 0
    assert f"like {first}, whose results it would replace" in refused(capsys, "status", "--profile", second)
    os.remove(first)
    assert run("status", "--profile", second) == 0


def test_the_cache_and_the_runs_may_not_be_files(capsys, study, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("UNICOMP_HOME", str(tmp_path / "file"))
    assert "the cache (UNICOMP_HOME) cannot be written" in refused(capsys, "reproduce", "--profile", "tiny")
    monkeypatch.setenv("UNICOMP_HOME", str(tmp_path))
    (study / "runs").write_text("")
    said = refused(capsys, "reproduce", "--profile", "tiny")
    assert f"the runs cannot be written to {study / 'runs'}: {study / 'runs'} is a file" in said


def test_output_that_nobody_reads_any_more_ends_quietly():
    command = f"{sys.executable} -m unicomp_lib status --profile tiny | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment(paths.project()))
    assert done.stderr == ""
    first, code = done.stdout.splitlines()
    assert re.match(r"profile tiny: \d+ of 34 steps stand", first)
    assert code in ("0", str(command_line.UNREAD))  # 0: all was written before head had gone


def test_a_hub_that_is_down_is_one_sentence(capsys, tmp_path, monkeypatch):
    import httpx
    import huggingface_hub

    def down(*_, **__):
        raise httpx.ConnectError("[Errno -2] Name or service not known\nand more")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", down)
    monkeypatch.setattr(prefetch, "fetch", lambda name: None)
    path = edited(tmp_path, lambda content: content["models"].update(tiny="owner/name@0123456"))
    said = refused(capsys, "prefetch", "--profile", path)
    assert "model owner/name could not be downloaded from the hub (ConnectError: [Errno -2] Name or service" in said
    assert "HF_HUB_OFFLINE=1" in said


def test_a_fault_of_the_study_is_a_sentence_and_a_file_to_report(capsys, home, monkeypatch):
    monkeypatch.setattr(commands.params, "load", lambda name: {}["nothing"])
    said = refused(capsys, "status")
    assert f"KeyError: 'nothing'; this is a fault of the study: please report it with {home / 'error.txt'}" in said
    assert "Traceback" in (home / "error.txt").read_text()


def test_a_letter_that_the_terminal_has_not_is_no_error(tmp_path):
    path = edited(tmp_path, lambda content: None, "größe.yaml")
    done = unicomp(paths.project(), "status", "--profile", path, PYTHONIOENCODING="ascii")
    assert done.returncode == 2
    assert done.stderr.startswith("error: name of gr\\xf6\\xdfe.yaml has the name")


def test_numbers_and_nouns_agree():
    assert [hints.count(number, "step") for number in (0, 1, 2)] == ["0 steps", "1 step", "2 steps"]


def test_control_c_while_it_loads_is_one_line(copy):
    process = start(copy)
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    assert_stopped(process)


def test_control_c_while_the_engine_starts_and_while_a_step_runs_is_one_line(copy):
    for shown in ("prefetched", "1 step on 1 worker"):
        process = start(copy)
        if shown == "prefetched":
            time.sleep(8)
        else:
            assert any(shown in line for line in process.stdout)  # a note may come first
            time.sleep(3)
        os.killpg(process.pid, signal.SIGINT)
        assert_stopped(process)


def start(checkout):
    """A run in a group of its own, as a terminal's: Ctrl-C goes to all of its processes."""
    arguments = ["reproduce", "--profile", "tiny", "--only", "compress/tiny/dense", "--force", "*", "--workers", "1"]
    return subprocess.Popen(
        [sys.executable, "-m", "unicomp_lib", *arguments], cwd=checkout, env=environment(checkout), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def assert_stopped(process):
    said = process.communicate(timeout=60)[1]
    assert process.returncode == command_line.STOPPED
    assert said == "\nstopped; finished steps are kept, run the same command to go on\n"
