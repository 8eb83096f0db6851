"""The tiny study from end to end, in a copy of the checkout: run, resume, break and mend."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import browser
import nbformat
import polars as pl
import pytest
from checkout import copied, environment, steps, unicomp, wait_for, worker_of

from unicomp_lib import paths, tables
from unicomp_lib.study import records

DIMENSIONS = {"performance", "reliability", "efficiency", "fidelity"}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A copy of the checkout in which the tiny profile has been run once."""
    checkout = copied(tmp_path_factory.mktemp("tiny") / "study")
    done = unicomp(checkout, "reproduce", "--profile", "tiny")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "34 of 34 steps stand, 34 of them run now" in done.stdout
    return checkout


def red(notebook):
    """What an executed notebook shows in red."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output.text for output in outputs if output.get("name") == "stderr"]


def results(checkout):
    """Scores that do not depend on time, and all item values."""
    scores = tables.read(checkout / "results" / "tiny" / "scores.parquet")
    items = {
        file.name: tables.read(file)
        for file in sorted((checkout / "results" / "tiny" / "items").glob("*.parquet"))
        if not file.name.endswith(".efficiency.parquet")
    }
    return scores.filter(pl.col("dimension") != "efficiency"), items


def test_the_run_leaves_tables_figures_and_records(study):
    scores = tables.read(study / "results" / "tiny" / "scores.parquet")
    assert scores.schema == pl.Schema(tables.SCORES)
    assert set(scores["dimension"]) == DIMENSIONS
    assert set(scores["variant"]) == {"dense", "dense-rerun", "magnitude-50", "wanda-2-4", "quanto-int8"}
    for figure in (
        "fidelity",
        "size",
        "retention",
        "knowledge_bias",
        "reliability",
        "length",
        "overview",
        "efficiency",
    ):
        for suffix in ("png", "svg", "csv"):
            assert (study / "figures" / "tiny" / f"{figure}.{suffix}").stat().st_size > 200
    beside = pl.read_csv(study / "figures" / "tiny" / "tasks_beside_dense.csv")  # dense is asked more items of one task
    assert not beside.select("variant", "task").is_duplicated().any()
    provenance = json.loads((study / "figures" / "tiny" / "provenance.json").read_text())
    assert len(provenance["steps"]) == 34
    for run in (study / "runs").iterdir():
        record = records.finished(run)
        assert record is not None
        assert record["peak_memory"] > 10**7
        executed = nbformat.read(run / records.NOTEBOOK, as_version=4)
        assert all(cell.execution_count for cell in executed.cells if cell.cell_type == "code")
        assert red(executed) == [], run.name


def test_the_notebooks_of_the_checkout_are_not_touched(study):
    for notebook in (study / "notebooks").rglob("*.ipynb"):
        for cell in nbformat.read(notebook, as_version=4).cells:
            assert not cell.get("outputs")


def test_the_same_command_again_does_no_work(study):
    before = {path: path.stat().st_mtime_ns for path in (study / "figures").rglob("*.*")}
    start = time.monotonic()
    done = unicomp(study, "reproduce", "--profile", "tiny")
    assert time.monotonic() - start < 15
    assert done.returncode == 0
    assert "34 of 34 steps stand, 0 of them run now" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in (study / "figures").rglob("*.*")} == before


def test_the_plan_says_how_long_it_will_take_where_that_is_known(study):
    again = unicomp(study, "reproduce", "--profile", "tiny", "--dry-run", "--force", "compress/tiny/dense")
    assert re.search(r"\d+ of 34 steps to run, about \d+:\d\d with \d+ workers; \d+ GB free", again.stdout)
    done = unicomp(study, "reproduce", "--profile", "tiny", "--dry-run")
    assert "0 of 34 steps to run; " in done.stdout


def test_status_counts_every_step(study):
    done = unicomp(study, "status", "--profile", "tiny")
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "34 done, 0 stale, 0 failed, 0 missing"
    tiny = study / "params" / "tiny.yaml"
    text = tiny.read_text()
    tiny.write_text(text.replace("fidelity: {samples: 4", "fidelity: {samples: 5"))
    done = unicomp(study, "status", "--profile", "tiny")
    tiny.write_text(text)
    assert done.stdout.splitlines()[-1] == "25 done, 9 stale, 0 failed, 0 missing"


def kill_tree(process):
    """kill -9 for the main process alone: what it started must notice by itself."""
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def start(checkout, *arguments):
    command = [sys.executable, "-m", "unicomp_lib", "reproduce", "--profile", "tiny", *arguments]
    log = (checkout / "killed.log").open("w")
    return subprocess.Popen(command, cwd=checkout, env=environment(checkout), stdout=log, stderr=log)


def test_a_killed_worker_and_a_killed_run_lose_nothing_finished(study):
    before = results(study)
    mine = [*(study / "runs").glob("evaluate.tiny.*.fidelity-*"), *(study / "runs").glob("scores.fidelity-*")]
    for run in mine:
        (run / records.RECORD).unlink()
    process = start(study)
    # First a step's own process, in mid-step, as the out-of-memory killer would.
    wait_for(lambda: steps(study))
    steps(study)[0].kill()
    # Then, once one of the steps has finished, the main process.
    wait_for(lambda: any(records.finished(run) for run in mine))
    kill_tree(process)
    wait_for(lambda: not steps(study), 20)
    kept = {run: (run / records.RECORD).stat().st_mtime_ns for run in mine if records.finished(run)}
    assert kept
    assert len(kept) < len(mine)
    done = unicomp(study, "reproduce", "--profile", "tiny")
    assert done.returncode == 0, done.stdout
    assert all((run / records.RECORD).stat().st_mtime_ns == stamp for run, stamp in kept.items())
    after = results(study)
    assert after[0].equals(before[0])
    assert after[1].keys() == before[1].keys()
    assert all(after[1][name].equals(table) for name, table in before[1].items())


def test_a_lost_worker_is_replaced_and_its_step_runs_again(study):
    process = start(study, "--force", "compress/tiny/magnitude-50", "--only", "compress/*")
    wait_for(lambda: steps(study))
    worker_of(steps(study)[0]).kill()
    assert process.wait(timeout=120) == 0, (study / "killed.log").read_text()
    assert "done" in (study / "killed.log").read_text()


def test_control_c_keeps_what_is_finished_and_says_so(study):
    process = start(study, "--force", "compress/tiny/magnitude-50", "--only", "compress/*")
    wait_for(lambda: steps(study))
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert "stopped; finished steps are kept, run the same command to go on" in (study / "killed.log").read_text()
    wait_for(lambda: not steps(study), 20)
    done = unicomp(study, "reproduce", "--profile", "tiny")
    assert "34 of 34 steps stand" in done.stdout


@pytest.fixture(scope="module")
def site(study):
    """The report of the tiny study, built in its copy of the checkout."""
    done = unicomp(study, "report", "--profile", "tiny", "--without-chapters")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "report: report/tiny/index.html" in done.stdout
    return study / "report" / "tiny"


def test_the_report_has_a_page_for_everything_and_names_no_folder_of_this_machine(study, site):
    pages = {str(page.relative_to(site)) for page in site.rglob("*.html")}
    figures = ("fidelity", "size", "retention", "knowledge_bias", "reliability", "length", "overview", "efficiency")
    assert {f"figures/{figure}.html" for figure in figures} <= pages
    assert {f"compress/tiny/{name}.html" for name in ("dense", "magnitude-50", "quanto-int8")} <= pages
    assert {"index.html", "scores.html", "provenance.html", "compress/tiny/wanda-2-4/seed-0.html"} <= pages
    for page in pages:
        text = (site / page).read_text()
        assert str(study) not in text, page
        assert str(paths.home()) not in text, page
        assert "http-equiv" not in text
        assert not re.search(r"runs/[\w.+-]+-[0-9a-f]{12}", text), page
        assert ("Its scores mean nothing" in text) == (page in ("index.html", "scores.html"))
    assert "Performance is empty, since dense scores no better than chance" in (site / "index.html").read_text()
    assert browser.dead_links(site) == []
    assert sum(file.stat().st_size for file in site.rglob("*") if file.is_file()) < 30e6
    assert not [name for name in study.joinpath("report").iterdir() if name.name != "tiny"]


@pytest.mark.parametrize("page", ["index", "figures/fidelity", "compress/tiny/magnitude-50", "provenance"])
def test_pages_show_their_pictures_and_formulas_in_a_browser_without_a_network(site, page):
    with browser.opened(site / f"{page}.html") as view:
        pictures = view.locator("article img")
        assert view.locator("article a > img").count() == pictures.count()
        for picture in pictures.all():
            picture.scroll_into_view_if_needed()
            assert picture.evaluate("image => image.complete && image.naturalWidth") > 200
        assert pictures.count() >= (page != "provenance")
        if page.startswith(("figures", "compress")):
            view.wait_for_selector("mjx-container svg")
            assert "$" not in view.locator("article section p").first.inner_text()
            downloads = view.locator("a.download").all()
            for link in downloads:
                assert (site / page).parent.joinpath(link.get_attribute("href")).resolve().is_file()
            assert len(downloads) == (6 if page.startswith("figures") else 0)


def test_the_table_of_scores_is_searched_and_filtered(study, site):
    scores = tables.read(study / "results" / "tiny" / "scores.parquet").filter(pl.col("seed").is_null())
    with browser.opened(site / "scores.html") as view:
        shown = view.locator(".dt-info")
        shown.wait_for()
        assert f"{len(scores):,} entries" in shown.inner_text()
        last = view.get_by_placeholder("high").bounding_box()
        assert last["x"] + last["width"] < view.viewport_size["width"]  # values are seen without scrolling
        view.locator(".dt-search input").fill("quanto-int8")
        wanted = scores.filter(variant="quanto-int8")
        view.wait_for_function(f"document.querySelector('.dt-info').innerText.includes('of {len(wanted):,} entries')")
        view.get_by_placeholder("metric").press_sequentially("perplexity_ratio")
        view.wait_for_function("document.querySelectorAll('#scores tbody tr').length == 1")
        rows = [row.inner_text() for row in view.locator("#scores tbody tr").all()]
        assert all("quanto-int8" in row and "perplexity_ratio" in row for row in rows)


@pytest.mark.slow
def test_without_scores_or_a_figure_there_is_nothing_to_report(tmp_path):
    fresh = copied(tmp_path / "fresh")
    for missing in ("results/tiny/scores.parquet is not there", "figures/tiny holds no figure yet"):
        done = unicomp(fresh, "report", "--profile", "tiny", "--without-chapters")
        assert done.returncode == 2
        assert done.stderr == f"error: {missing}; run the study first: nox -s reproduce -- --profile tiny\n"
        tables.write(tables.scores([], {}), fresh / "results" / "tiny" / "scores.parquet")


def breaking(study, notebook, code):
    """Append code to the last cell of a notebook; returns what puts it back."""
    path = study / "notebooks" / f"{notebook}.ipynb"
    text = path.read_text()
    content = nbformat.reads(text, as_version=4)
    [cell for cell in content.cells if cell.cell_type == "code"][-1].source += f"\n{code}"
    nbformat.write(content, path)
    return lambda: path.write_text(text)


# By compressed cell: what its notebook does at its end, and what is said of it.
FAILURES = {
    "magnitude-50": ("raise RuntimeError('the cable is out')", "RuntimeError: the cable is out"),
    "quanto-int8": ("import os; os._exit(3)", "the notebook's kernel ended with exit code 3"),
    "wanda-2-4/seed-0": ("open('/dev/full', 'w', buffering=1).write('x\\n')", "is full ("),
}
if not Path("/dev/full").exists():
    del FAILURES["wanda-2-4/seed-0"]


def test_notebooks_that_fail_are_isolated_and_say_why(study):
    mends = [breaking(study, f"compress/{name.partition('-')[0]}", code) for name, (code, _) in FAILURES.items()]
    try:
        done = unicomp(study, "reproduce", "--profile", "tiny", "--only", "scores/fidelity")
        status = unicomp(study, "status", "--profile", "tiny", "--only", "compress/*")
    finally:
        for mend in mends:
            mend()
    assert done.returncode == 1
    for name, (_, says) in FAILURES.items():
        failed = [line for line in done.stdout.splitlines() if line.startswith(f"failed: compress/tiny/{name}")]
        assert len(failed) == 1
        assert says in failed[0]
        assert f"failed   compress/tiny/{name}  " in status.stdout
    blocked = [line.split(":")[1].strip() for line in done.stdout.splitlines() if line.startswith("blocked:")]
    assert sorted(blocked) == [*(f"evaluate/tiny/{name}/fidelity" for name in FAILURES), "scores/fidelity"]
    # Everything that stood before still stands, and the mended notebooks find their old runs.
    assert "34 of 34 steps stand, 0 of them run now" in unicomp(study, "reproduce", "--profile", "tiny").stdout


def flip(path):
    """Change one bit as a bad disk does: size and time stay."""
    content, before = bytearray(path.read_bytes()), path.stat()
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_what_read_a_measurement_that_was_repeated_is_made_again(study):
    (run,) = filter(records.finished, (study / "runs").glob("evaluate.tiny.magnitude-50.efficiency-*"))
    (run / records.RECORD).unlink()
    done = unicomp(study, "reproduce", "--profile", "tiny")
    assert done.returncode == 0, done.stdout + done.stderr
    again = re.findall(r"done    (\S+) in", done.stdout)
    assert again[:2] == ["evaluate/tiny/magnitude-50/efficiency", "scores/efficiency"]
    assert {"figures/efficiency", "figures/overview"} <= set(again[2:])
    assert all(name.startswith("figures/") for name in again[2:])
    # A forced one whose readers were not asked for leaves them stale, and never mixed with it.
    only = [part for kind in ("--only", "--force") for part in (kind, "evaluate/tiny/dense/efficiency")]
    also = ["--only", "evaluate/tiny/dense/fidelity", "--force", "evaluate/tiny/dense/fidelity"]
    done = unicomp(study, "reproduce", "--profile", "tiny", *only, *also)
    assert set(re.findall(r"done    (\S+) in", done.stdout)) == {only[1], also[1]}
    listed = unicomp(study, "status", "--profile", "tiny").stdout
    assert "stale    scores/efficiency" in listed
    assert "done     scores/fidelity" in listed  # computed twice, and the same
    assert "done    scores/efficiency in" in unicomp(study, "reproduce", "--profile", "tiny").stdout
    assert unicomp(study, "status", "--profile", "tiny").stdout.splitlines()[-1].startswith("34 done")


def test_a_flipped_bit_makes_its_step_run_again_before_anything_reads_it(study):
    before = results(study)
    # Other tests have left runs of these steps that failed.
    dense, magnitude = (
        next(filter(records.finished, (study / "runs").glob(f"compress.tiny.{name}-*")))
        for name in ("dense", "magnitude-50")
    )
    flip(dense / "checkpoint" / "model.safetensors")
    flip(magnitude / "checkpoint" / "model.safetensors")
    assert "0 of 34 steps to run" in unicomp(study, "reproduce", "--profile", "tiny", "--dry-run").stdout
    # Both checkpoints are read: by the evaluation, and the dense one by what makes the other again.
    one = "evaluate/tiny/magnitude-50/fidelity"
    only = ("--only", one, "--force", one, "--workers", "1")
    done = unicomp(study, "reproduce", "--profile", "tiny", *only)
    assert done.returncode == 0, done.stdout + done.stderr
    notes = {line for line in done.stdout.splitlines() if "runs again" in line}
    assert notes == {
        f"note: compress/tiny/{name} runs again, since checkpoint/model.safetensors in {run.name} "
        "is not what its step wrote"
        for name, run in (("dense", dense), ("magnitude-50", magnitude))
    }
    after = results(study)
    assert after[0].equals(before[0])
    assert all(after[1][name].equals(table) for name, table in before[1].items())


def test_status_finds_a_flipped_bit_where_it_reads_all_and_the_next_run_mends_it_and_a_truncated_file(study):
    run, other = (next((study / "runs").glob(f"evaluate.tiny.{name}.fidelity-*")) for name in ("dense", "quanto-int8"))
    flip(run / "items.parquet")
    assert unicomp(study, "status", "--profile", "tiny").stdout.splitlines()[-1].startswith("34 done")
    found = unicomp(study, "status", "--profile", "tiny", "--verify")
    assert found.returncode == 1
    assert found.stdout.splitlines()[-1] == "33 done, 0 stale, 0 failed, 0 missing, 1 damaged"
    says = f"damaged  evaluate/tiny/dense/fidelity  items.parquet in {run.name} is not what its step wrote"
    assert says in found.stdout
    (other / "items.parquet").write_bytes(b"")
    done = unicomp(study, "reproduce", "--profile", "tiny")
    assert "34 of 34 steps stand, 2 of them run now" in done.stdout
    assert unicomp(study, "status", "--profile", "tiny", "--verify").returncode == 0


def test_results_that_cannot_be_written_stop_no_computing_and_are_told_at_the_end(study):
    (study / "results").rename(study / "away")
    (study / "results").write_text("a file in its place")
    only = ("--only", "figures/fidelity", "--force", "figures/fidelity", "--workers", "1")
    done = unicomp(study, "reproduce", "--profile", "tiny", *only)
    (study / "results").unlink()
    (study / "away").rename(study / "results")
    assert done.returncode == 1
    assert "1 of them run now" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("not published: ")
    assert unicomp(study, "reproduce", "--profile", "tiny").returncode == 0


def test_a_forced_run_that_cannot_start_loses_nothing(study):
    done = unicomp(study, "reproduce", "--profile", "tiny", "--force", "*", "--scheduler", "nowhere")
    assert done.returncode == 2
    assert done.stderr.startswith("error: no Dask scheduler answers at 'nowhere'")
    assert "34 done" in unicomp(study, "status", "--profile", "tiny").stdout


def test_bad_input_on_the_command_line_is_one_sentence(study):
    for arguments, says in [
        (["--profile", "huge"], "error: profile 'huge' is not there"),
        (["--profile", "tiny", "--only", "audio/*"], "error: no step matches 'audio/*'"),
        (["--profile", "tiny", "--force", "nothing"], "error: --force 'nothing' matches no step"),
        (["--profile", "tiny", "--workers", "0"], "error: --workers 0 is not allowed"),
    ]:
        done = unicomp(study, "reproduce", *arguments)
        assert done.returncode == 2
        assert done.stderr.startswith(says)
        assert len(done.stderr.strip().splitlines()) == 1


def test_figures_are_redrawn_from_the_tables_alone(study):
    figure = study / "figures" / "tiny" / "retention.csv"
    content = figure.read_bytes()
    figure.unlink()
    (study / "runs").rename(study / "away")  # no checkpoint, no item: only the tables are left
    notebook = study / "notebooks" / "figures" / "retention.ipynb"
    command = [sys.executable, "-m", "papermill", "-k", "python3", str(notebook), os.devnull]
    command += ["-p", "performance_scores", str(study / "results" / "tiny" / "scores.parquet")]
    done = subprocess.run([*command, "-p", "output", str(figure.parent)], env=environment(study), capture_output=True)
    (study / "away").rename(study / "runs")
    assert done.returncode == 0, done.stderr
    assert figure.read_bytes() == content
