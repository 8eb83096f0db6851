"""The report of a checkout in which nothing has been run, built from what is published, as a reader sees it."""

import json
import re
import shutil

import browser
import polars as pl
import pytest
from checkout import copied, unicomp

from unicomp_lib import paths
from unicomp_lib.report import site
from unicomp_lib.study import params
from unicomp_lib.study.plan import plan
from unicomp_lib.study.steps import keys

HOSTILE = "<b>W</b> | `x` $y$ *z* <script>document.title = 7777</script>"
LABELLED = "GPTQ int4"  # what it stands for
COMMAND = ("report", "--without-chapters")


@pytest.mark.parametrize("name", ["tiny", "embedded"])
def test_the_chapters_have_keys_beside_the_steps_of_a_study(name):
    profile = params.load(name)
    steps = [*plan(profile), *site.teaching(profile, name)]
    found = keys(steps)
    assert len(set(found.values())) == len(steps) == len(found)
    assert sum(each.startswith("learn/") for each in found) == 8


def published(target):
    """A copy of the checkout with what is committed of the default profile, and one variant of a hostile name."""
    checkout = copied(target)
    for folder in ("figures", "results"):
        shutil.copytree(paths.project() / folder / "embedded", checkout / folder / "embedded")
    profile = checkout / "params" / "embedded.yaml"
    before, after = profile.read_text().split("  gptq-int4: {")
    profile.write_text(f"{before}  gptq-int4: {{label: {json.dumps(HOSTILE)}, {after}")
    scores = checkout / "results" / "embedded" / "scores.parquet"
    pl.read_parquet(scores).with_columns(pl.col("label").replace(LABELLED, HOSTILE)).write_parquet(scores)
    return checkout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return published(tmp_path_factory.mktemp("fresh") / "study")


@pytest.fixture(scope="module")
def report(checkout):
    done = unicomp(checkout, *COMMAND)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"note: (\d+) of \1 steps not run here; what is published stands for them", done.stdout)
    assert not (checkout / "runs").exists()
    return checkout / "report" / "embedded"


def test_what_is_published_has_a_page_for_everything_and_no_link_is_dead(checkout, report):
    pages = {str(page.relative_to(report).with_suffix("")) for page in browser.pages(report)}
    drawn = {path.stem for path in (checkout / "figures" / "embedded").glob("*.png")}
    figures = {f"figures/{name}" for name in params.load("embedded").figures if name in drawn}
    methods = {f"compress/{entry.method}" for entry in params.load("embedded").compressions.values()}
    chapters = {f"learn/{path.stem}" for path in (checkout / "notebooks" / "learn").glob("*.ipynb")}
    networks = {f"vision/{name}" for name in ("train", "prune", "interpretability")}
    rest = {"index", "scores", "provenance", "learn/README", "search", "genindex"}
    assert pages == figures | methods | chapters | networks | rest
    assert browser.dead_links(report) == []
    for page in pages:
        text = (report / f"{page}.html").read_text()
        assert str(checkout) not in text, page
        assert str(paths.home()) not in text, page


def test_a_dead_link_is_seen(tmp_path):
    (tmp_path / "a.html").write_text('<a href="b.html">b</a> <a href="#there">c</a> <img src="d.png"> <h1 id="here">')
    (tmp_path / "e.html").write_text('<a href="a.html#here">a</a> <a class="x" href="a.html#gone">a</a>')
    assert browser.dead_links(tmp_path) == ["a.html: b.html", "a.html: #there", "a.html: d.png", "e.html: a.html#gone"]


def test_every_page_is_readable_and_fits_the_window(report):
    outside = "boxes => boxes.filter(box => box.getBoundingClientRect().right > innerWidth).length"
    with browser.browsing() as view:
        for page in browser.pages(report):
            view.emulate_media(color_scheme="light")
            browser.visit(view, page)
            for scheme in ("light", "dark"):
                view.set_viewport_size({"width": browser.DESK, "height": 900})
                view.emulate_media(color_scheme=scheme)
                view.wait_for_function("scheme => document.documentElement.dataset.theme == scheme", arg=scheme)
                if view.locator("article").count():
                    contrast, where = view.locator("article").first.evaluate(browser.CONTRAST)
                    assert contrast > 4, (page, where)
                for width in (browser.DESK, browser.PHONE):
                    view.set_viewport_size({"width": width, "height": 900})
                    assert view.evaluate("document.documentElement.scrollWidth") <= width, page
                    assert view.locator("mjx-container").evaluate_all(outside) == 0, page


def test_figures_open_in_full_on_a_phone(report):
    with browser.browsing(width=browser.PHONE) as view:
        for page in (report / "index.html", *sorted((report / "figures").glob("*.html"))):
            browser.visit(view, page)
            pictures = view.locator("article img").all()
            assert pictures, page
            assert len(pictures) == view.locator("article a > img").count()
            for picture in pictures:
                natural = picture.evaluate("image => image.naturalWidth / image.naturalHeight")
                box = picture.bounding_box()
                assert box["width"] <= browser.PHONE
                assert box["width"] / box["height"] == pytest.approx(natural, rel=0.05)
                link = picture.locator("..").get_attribute("href")
                assert (page.parent / link).resolve().stat().st_size > 10_000
            assert page.name == "index.html" or view.locator("a.download").count() >= 3


def test_html_in_a_name_is_text(report):
    with browser.browsing() as view:
        for page in ("compress/gptq", "figures/fidelity", "scores", "index"):
            browser.visit(view, report / f"{page}.html")
            assert view.title() != "7777"
            assert view.locator("article b").count() == 0
        browser.visit(view, report / "compress" / "gptq.html")
        assert HOSTILE in view.locator("article table").last.inner_text()
        browser.visit(view, report / "scores.html")
        view.locator(".dt-search input").fill("<b>W</b>")
        view.wait_for_function("document.querySelectorAll('#scores tbody tr').length > 1")
        assert HOSTILE in view.locator("#scores tbody tr").first.inner_text()


def test_the_table_shows_labels_and_short_numbers_and_finds_variants_by_their_ids(report):
    def found(view, text):
        view.locator(".dt-search input").fill(text)
        view.wait_for_function("document.querySelector('.dt-info').innerText.includes('filtered')")
        return [row.locator("td").all_inner_texts() for row in view.locator("#scores tbody tr").all()]

    with browser.opened(report / "scores.html") as view:
        view.locator(".dt-length select").select_option("500")
        reasoning = found(view, "wanda-50-reasoning")
        view.locator(".dt-search input").fill("")
        view.wait_for_function("!document.querySelector('.dt-info').innerText.includes('filtered')")
        rows = found(view, "wanda-50")
    assert {row[1] for row in reasoning} == {"Wanda 50 % reasoning"}
    assert "Wanda 50 %" in {row[1] for row in rows} <= {"Wanda 50 %", "Wanda 50 % reasoning"}
    numbers = [number for row in rows for number in row[6:9] if number]
    assert len(rows) > 100
    assert "-0.0" not in numbers
    assert max(len(number.partition("e")[0].strip("-").replace(".", "").strip("0")) for number in numbers) <= 4


def test_method_pages_say_how_to_run_them_and_what_was_measured(report):
    with browser.opened(report / "compress" / "wanda.html") as view:
        article = view.locator("article").first.inner_text()
        assert "has not been run here" in article
        command = "nox -s reproduce -- --only compress/smollm2-135m/wanda-50/seed-0"
        assert command in view.locator(".note").inner_text()
        assert re.search(r"Wanda 2:4\s[^%]*\d+ \[\d+, \d+\] %", article)
        assert view.locator("details").count() >= 3
        assert view.locator("details[open]").count() == 0


@pytest.fixture
def fresh(checkout, tmp_path):
    """Another copy, to take something away from; without a network, nor time to run chapters."""
    target = tmp_path / "study"
    return shutil.copytree(checkout, target, ignore=lambda folder, _: {"report"} if folder == str(checkout) else set())


@pytest.mark.parametrize("command", [COMMAND, ("report",)])
def test_missing_scores_are_one_sentence_before_any_chapter_runs(fresh, command):
    (fresh / "results" / "embedded" / "scores.parquet").unlink()
    done = unicomp(fresh, *command)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "error: results/embedded/scores.parquet is not there; run the study first: nox -s reproduce\n"
    )
    assert not (fresh / "runs").exists()


def test_older_scores_and_a_missing_record_are_one_sentence(fresh):
    scores = fresh / "results" / "embedded" / "scores.parquet"
    table = pl.read_parquet(scores)
    table.drop("label").write_parquet(scores)
    done = unicomp(fresh, "report")
    assert done.stderr == (
        "error: results/embedded/scores.parquet lacks the columns label; make it again: nox -s reproduce\n"
    )
    table.write_parquet(scores)
    (fresh / "figures" / "embedded" / "provenance.json").write_text("{")
    done = unicomp(fresh, "report")
    assert done.stderr == (
        "error: figures/embedded/provenance.json is missing or damaged; make it again: nox -s reproduce\n"
    )


def test_what_cannot_be_explored_here_is_left_out_with_the_reason(fresh, monkeypatch):
    shutil.rmtree(fresh / "results" / "embedded" / "items")
    monkeypatch.setattr(paths, "project", lambda: fresh)
    profile = params.load("embedded")
    steps = plan(profile)
    more = site.teaching(profile, "embedded")
    reasons = site.left_out(site.read(profile, steps, keys(steps)), more)
    assert reasons == {
        "explore/results": "results/embedded/items holds no rows of fidelity",
        "explore/chat": "dense has not been compressed here",
    }


def test_labels_cannot_be_drawn_before_answers_are_judged(fresh):
    (fresh / "results" / "embedded" / "judged.reliability.parquet").unlink(missing_ok=True)
    done = unicomp(fresh, "label", "draw", "labels.csv")
    assert done.returncode == 2
    assert done.stderr == (
        "error: the judged answers of profile embedded, results/embedded/judged.reliability.parquet, are not there; "
        "make them: nox -s reproduce -- --only judge/reliability\n"
    )
