"""``nox -s compare``: two of anything in, one page out; what cannot be compared is one sentence."""

import re
from pathlib import Path

import answer_logs as logs
import browser
import polars as pl
import pytest
import torch

from unicomp_lib import paths, results, tables
from unicomp_lib.__main__ import main
from unicomp_lib.checkpoints import models, saving
from unicomp_lib.compare import checkpoints
from unicomp_lib.study import params

RIGHT = [1.0] * 30 + [0.0] * 10
DAMAGED = [0.0] * 12 + [1.0] * 19 + [0.0] * 9


def refused(capsys, *arguments):
    code = main(["compare", *map(str, arguments)])
    said = capsys.readouterr().err
    assert code == 2, said
    assert re.fullmatch(r"error: [^\n]+\n", said)
    return said


@pytest.fixture
def two(tmp_path):
    """Logs of two models on three tasks; on one of these, B has lost answers. Names are hostile to HTML and LaTeX."""
    folders = []
    for name, damaged in (("A_1", RIGHT), ("<b>B", DAMAGED)):
        for task in ("piqa_cloze", "arc", "x_<i>"):
            logs.lmeval(tmp_path / name, task, damaged if task == "arc" else RIGHT)
        folders.append(tmp_path / name)
    return folders


def test_two_logs_give_one_page_and_its_tables(two, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["compare", *map(str, two), "--rerun", str(two[0]), "--output", str(out)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("<b>B is worse than A_1 on 1 of 3 tasks (arc −27.5 points [")
    assert {file.name for file in out.iterdir()} == {"index.html", "tasks.csv", "items.csv", "table.tex"}
    by_task = {row["task"]: row for row in pl.read_csv(out / "tasks.csv").iter_rows(named=True)}
    assert list(by_task) == ["arc", "piqa_cloze", "x_<i>", "all items", "mean of tasks"]
    assert (by_task["arc"]["lost"], by_task["arc"]["gained"], by_task["arc"]["verdict"]) == (12, 1, "worse")
    assert by_task["arc"]["difference"] == pytest.approx(-11 / 40)
    assert by_task["all items"]["items"] == 120
    flipped = pl.read_csv(out / "items.csv")
    assert flipped["flip"].to_list() == ["lost"] * 12 + ["gained"]
    tex = (out / "table.tex").read_text()
    assert r"x\_$<$i$>$ & acc & 40 & 75.0 & 75.0 & +0.0" in tex
    assert tex.count(r"\\") == 6


def test_the_page_is_whole_readable_in_both_modes_and_shows_text_as_text(two, tmp_path):
    out = tmp_path / "out"
    assert main(["compare", *map(str, two), "--output", str(out)]) == 0
    html = (out / "index.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!#)', html.replace("xlink:href", ""))  # self-contained
    assert "http-equiv" not in html
    for scheme in ("light", "dark"):
        with browser.browsing(scheme=scheme) as view:
            browser.visit(view, out / "index.html")
            assert view.locator("article b, article i").count() == 0
            assert "is worse than A_1 on 1 of 3 tasks" in view.locator(".answer").inner_text()
            contrast, where = view.locator("article").first.evaluate(browser.CONTRAST)
            assert contrast > 4, where
            for width in (browser.DESK, browser.PHONE):
                view.set_viewport_size({"width": width, "height": 900})
                assert view.evaluate("document.documentElement.scrollWidth") <= width


def test_logs_of_inspect_ai_are_compared(tmp_path, capsys):
    a, b = (logs.inspect(tmp_path / f"{name}.eval", "t", ["C"] * right + ["I"] * (40 - right)) for name, right in
            (("a", 30), ("b", 29)))  # fmt: skip
    assert main(["compare", str(a), str(b), "--output", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.startswith("No difference between a.eval and b.eval was found on t: −2.5 points [")


def test_cells_of_the_study_are_compared_with_their_fidelity(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(results, "folder", lambda profile: tmp_path / profile)
    rows = [
        {"dimension": "performance", "capability": "k", "task": "arc_cloze", "format": "cloze", "chance": 0.25,
         "doc_id": index, "doc_hash": f"d{index}", "prompt_hash": "p", "cluster": f"d{index}", "metric": metric,
         "primary": metric == "acc_norm", "value": value, "judge": "", "output": '{"options": [[-1.5], [-0.5]]}'}
        for index, right in enumerate(RIGHT)
        for metric, value in (("bits_per_byte", 1.5), ("acc_norm", right))
    ]  # fmt: skip
    blocks = pl.DataFrame({"doc_id": [0, 1, 2] * 2, "metric": ["kl"] * 3 + ["agreement"] * 3,
                           "value": [0.1, 0.2, 0.3, 0.7, 0.8, 0.9]})  # fmt: skip

    def publish(variant, seed, values):
        cell = {"model": "m.1", "method": variant, "variant": variant, "calibration": "", "seed": seed}
        table = pl.DataFrame(rows, schema=tables.ITEMS).with_columns(value=values)
        part = f"m.1.{variant}.{f'seed-{seed}.' if variant != 'dense' else ''}"
        tables.write(tables.label(table, cell), tmp_path / "embedded" / "items" / f"{part}performance.parquet")
        measured = tables.measurements(blocks, dimension="fidelity", task="held-out")
        tables.write(tables.label(measured, cell), tmp_path / "embedded" / "items" / f"{part}fidelity.parquet")

    publish("dense", 0, pl.col("value"))
    damaged = pl.Series([value for right in DAMAGED for value in (1.5, right)])
    for seed in (0, 1):
        publish("wanda-50", seed, damaged)
    out = str(tmp_path / "out")
    assert main(["compare", "performance/m.1/dense", "performance/m.1/wanda-50", "--output", out]) == 0
    said = capsys.readouterr().out
    assert said.startswith("m.1/wanda-50 is worse than m.1/dense on arc_cloze: −27.5 points [")
    assert re.search(r"^reference answers +bits_per_byte +40 +1\.50 +1\.50 +\+0\.00", said, flags=re.MULTILINE)
    assert "performance/m.1/wanda-50: the mean over seeds 0, 1 of each item" in said
    assert "put the same token first at 80.0 [" in said
    assert main(["compare", "performance/m.1/dense", "performance/m.1/wanda-50/seed-1", "--output", out]) == 0
    assert "p exact" in capsys.readouterr().out
    for file in (tmp_path / "embedded" / "items").glob(
        "*dense*"
    ):  # the fidelity of another model is not that of this one
        rows_ = pl.read_parquet(file).with_columns(model=pl.lit("other"))
        tables.write(rows_, file.with_name(file.name.replace("m.1.", "other.")))
    assert main(["compare", "performance/other/dense", "performance/m.1/wanda-50", "--output", out]) == 0
    assert "the same token first" not in capsys.readouterr().out
    missing = refused(capsys, "performance/m.1/dense", "performance/m.1/wanda-51")
    assert "it has performance/m.1/dense, performance/m.1/wanda-50/seed-0" in missing
    assert "did you mean 'performance/m.1/wanda-50" in missing


def test_the_sentence_on_a_cell_of_the_study_begins_with_the_damage_that_pruning_did(tmp_path, capsys):
    """Near chance there is no right answer to lose; the committed items show it by their reference answers."""
    cells = [f"performance/smollm2-135m/{variant}" for variant in ("dense", "wanda-50")]
    assert main(["compare", *cells, "--output", str(tmp_path / "out")]) == 0
    first = capsys.readouterr().out.partition(";")[0]
    assert first.startswith("smollm2-135m/wanda-50 is worse than smollm2-135m/dense")
    assert re.search(r"reference answers less likely, \+0\.\d+ bits per byte \[\+0", first)


def test_no_column_of_the_table_is_cut_off_on_a_desk_or_in_print(tmp_path):
    cells = [f"performance/smollm2-135m/{variant}" for variant in ("dense", "wanda-50")]
    rerun = ["--rerun", "performance/smollm2-135m/dense-rerun"]
    assert main(["compare", *cells, *rerun, "--output", str(tmp_path / "out")]) == 0
    with browser.browsing() as view:
        browser.visit(view, tmp_path / "out" / "index.html")
        for media, width in (("screen", 1300), ("print", 1040)):  # A4 on its side
            view.emulate_media(media=media)
            view.set_viewport_size({"width": width, "height": 900})
            cut = "table => table.parentElement.scrollWidth - table.parentElement.clientWidth"
            assert view.locator("table.scores").evaluate(cut) <= 0


def test_a_rerun_of_other_tasks_is_refused(tmp_path, capsys):
    a, b = (logs.lmeval(tmp_path / name, "t", RIGHT) for name in "ab")
    other = logs.lmeval(tmp_path / "c", "other", RIGHT)
    assert "the rerun c has none of the items that are compared" in refused(capsys, a, b, "--rerun", other)


def test_a_document_among_the_logs_costs_the_other_tasks_nothing(tmp_path, capsys):
    for name in "ab":
        logs.lmeval(tmp_path / name, "arc_easy", RIGHT)
        logs.lmeval(tmp_path / name, "wikitext", [[-12.0 - index, 30] for index in range(5)], metric="word_perplexity")
    out = ["--output", str(tmp_path / "out")]
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), *out]) == 0
    assert re.search(r"^wikitext +log_likelihood_per_word +5 +−0\.467", capsys.readouterr().out, flags=re.MULTILINE)
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--tasks", "arc*", *out]) == 0
    assert not re.search("^wikitext +log", capsys.readouterr().out, flags=re.MULTILINE)
    assert (
        main(["compare", *map(str, (tmp_path / "a", tmp_path / "b")), "--tasks", "arc*", "--tasks", "wiki*", *out]) == 0
    )
    said = capsys.readouterr().out
    assert re.search("^wikitext +log", said, flags=re.MULTILINE)
    assert re.search("^arc_easy ", said, flags=re.MULTILINE)


def test_a_newcomers_own_folder_in_and_a_page_out(tmp_path, capsys):
    """The walk of docs/your_model.md, with a model of two layers and a few items."""
    model, tokenizer = models.load(models.TINY)
    saving.save(model, tokenizer, tmp_path / "mine")
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.model.layers.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape))
    saving.save(model, tokenizer, tmp_path / "damaged")
    folders = [str(tmp_path / name) for name in ("mine", "damaged")]
    arguments = ["--rerun", folders[0], "--tasks", "piqa_cloze", "asdiv_cloze", "--items", "8"]
    assert main(["compare", *folders, *arguments, "--output", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^(No difference between mine and damaged was found|damaged is)", said, flags=re.MULTILINE)
    assert "KL(A ‖ B) is" in said
    assert "Rerun of A: mine again, checkpoint" in said
    table = pl.read_csv(tmp_path / "out" / "tasks.csv")
    assert table["task"].to_list() == ["piqa_cloze", "asdiv_cloze", "all items", "mean of tasks", "reference answers"]
    assert table["items"].to_list() == [8, 8, 16, 16, 16]
    assert (tmp_path / "out" / "index.html").stat().st_size > 10_000
    flipped = pl.read_csv(tmp_path / "out" / "items.csv", infer_schema_length=None).filter(task="piqa_cloze")
    assert len(flipped)
    for row in flipped.iter_rows(named=True):  # the option shown is the one that counted
        assert len(row["question"]) > 10
        assert [row["answer_a"] == row["target"], row["answer_b"] == row["target"]] == [row["a"], row["b"]]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere", "{log}"], "'nowhere' is not there; give the folder of a checkpoint, owner/name@revision"),
        (["{log}", "{empty}"], "is neither a checkpoint nor a log; give the folder"),
        (["{log}", "tiny-random-llama"], "models and recorded answers cannot be compared: .*checkpoint"),
        (["owner/name", "owner/name@0123456"], "needs its revision: owner/name@<commit>"),
        (["{log}", "logs/typo"], "'logs/typo' is not there; give the folder"),
        (["tiny-random-llama", "tiny-random-llama", "--tasks", "piqa_close"], "task 'piqa_close' is not known"),
        (
            ["tiny-random-llama", "tiny-random-llama", "--tasks", "strongreject_generate"],
            "task strongreject_generate are judged in a step of the study",
        ),
        (["{log}", "{log}", "--items", "0"], "--items 0 is not allowed"),
        (
            ["{log}", "{log}", "--text", "mine.txt"],
            "--text and --data-dir are for models; leave them out where answers",
        ),
        (["{log}", "{log}", "--data-dir", "{empty}"], "--text and --data-dir are for models"),
        (["tiny-random-llama", "tiny-random-llama", "--cluster", "passage"], "--cluster passage is for logs"),
        (["tiny-random-llama", "tiny-random-llama", "--data-dir", "nowhere"], "--data-dir nowhere is not a folder"),
        (["tiny-random-llama", "tiny-random-llama", "--text", "nowhere"], "nowhere"),
        (["tiny-random-llama", "tiny-random-llama", "--output", "{log}/x/y", "--items", "1"], "cannot be a folder"),
        (
            ["performance/m/dense", "performance/m/x", "--profile", "formats"],
            "profile formats: .*run the study: nox -s reproduce -- --profile formats --only 'evaluate",
        ),
        (["performence/m/dense", "performance/m/x"], "there are no items of performence/m/dense in profile embedded"),
        (
            ["fidelity/smollm2-135m/dense", "fidelity/smollm2-135m/wanda-50"],
            "has no score for each item; compare cells",
        ),
        (["a/b/c", "a/b/d"], "'a/b/c' is not there"),
        (["reliability/smollm2-135m/dense/0", "reliability/smollm2-135m/dense"], "there are no items of .*dense/0"),
        (["{log}", "{log}", "--profile", "../x"], None),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(tmp_path, capsys, arguments, says):
    (tmp_path / "empty").mkdir()
    log = logs.lmeval(tmp_path / "log", "t", RIGHT)
    (Path(log) / "x").write_text("a file")
    given = [each.format(log=log, empty=tmp_path / "empty") for each in arguments]
    if says is None:
        assert main(["compare", *given, "--output", str(tmp_path / "out")]) == 0  # no profile is read for logs
        return
    assert re.search(says, refused(capsys, *given))


def test_the_default_tasks_are_the_studys_and_need_no_hub():
    known = params.load("embedded").evaluations["performance"].parameters["tasks"]
    assert set(checkpoints.TASKS) <= set(known)
    checkpoints.described(dict.fromkeys(checkpoints.TASKS, 1))


def test_pages_go_where_git_does_not_look():
    assert "/report/" in (paths.project() / ".gitignore").read_text().splitlines()
