"""Lay out the pages and build the site."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from unicomp_lib import files, paths, results, tables
from unicomp_lib.inputs import assets
from unicomp_lib.report import front, pages
from unicomp_lib.study import notebooks, publish, records, variants
from unicomp_lib.study.params import DENSE, UNTRAINED, Profile, profile_path
from unicomp_lib.study.steps import Stage, Step

# Settings of Sphinx. All that a page needs lies beside it: formulas are drawn by a copy of MathJax.
SETTINGS = """project = "What compression really does to a model"
author = "the study's authors"
extensions = ["myst_nb", "sphinx.ext.mathjax"]
html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["static"]
html_css_files = ["wide.css"]
html_context = {"default_mode": "auto"}
mathjax_path = "tex-svg.js"
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_dmath_double_inline = True
nb_execution_mode = "off"
nb_ipywidgets_js = {}
nb_merge_streams = True
nb_code_prompt_show = "Show the code"
nb_code_prompt_hide = "Hide the code"
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "show_toc_level": 2, "use_download_button": False, "use_fullscreen_button": False,
    "navbar_start": [], "navbar_center": [], "navbar_end": [], "navbar_persistent": [],
    "secondary_sidebar_items": {"scores": [], "provenance": [], "**": ["page-toc"]},
}
"""
# Figures are as wide as a printed page, and the table of scores as wide as the window; its columns are as wide
# as what stands in them, so that values are seen without scrolling: by themselves, fields for text are 20 letters wide.
WIDE = """.bd-header { display: none; }
.bd-main .bd-content .bd-article-container { max-width: 70em; }
.bd-main .bd-content:not(:has(.bd-sidebar-secondary)) .bd-article-container { max-width: 100%; }
#scores { width: 100%; }
#scores th, #scores td { min-width: 7.4em; padding: 4px; }
#scores .dt-type-numeric { min-width: 4.8em; }
#scores thead input { width: 0; min-width: 100%; padding: 2px; }
"""

SECTIONS = {
    Stage.FIGURES: "Figures", Stage.COMPRESS: "Methods", Stage.VISION: "GoogLeNet", Stage.LEARN: "Learn",
    Stage.EXPLORE: "Explore",
}  # fmt: skip
VISION = {"train": "training", "prune": "pruning and retraining", "interpretability": "what its units see"}


def teaching(profile: Profile, given: str) -> list[Step]:
    """The notebooks that a report shows and the study does not run: the chapters, and those to explore with.

    ``given`` is what the profile was asked for by: its name, or the path of its file.
    """
    folder = paths.project() / "notebooks"
    chapters = [file.stem for file in sorted((folder / "learn").glob("*.ipynb"))]
    of_method: dict[str, str] = {}
    for name, compression in profile.compressions.items():
        of_method.setdefault(compression.method, name)
    where = str(profile_path(given).resolve()) if given.endswith((".yaml", ".yml")) else given
    talk = {"profile": where, "variants": list(of_method.values())[:4]}
    explore = [
        Step(Stage.EXPLORE, f"explore/{name}", given, topic=name)
        for name, given in (("results", {"profile": profile.name}), ("chat", talk))
    ]
    return [*(Step(Stage.LEARN, f"learn/{name}", {}, topic=name) for name in chapters), *explore]


def build(profile: Profile, steps: list[Step], keys: dict[str, str], target: Path) -> Path:
    """Build the site of all finished ``steps`` in ``target`` and return its first page.

    The folder appears whole or not at all, and replaces the one before. Raises a ``ValueError`` where no
    figure has been drawn yet, and a ``RuntimeError`` where Sphinx fails.
    """
    done = [step for step in steps if records.finished(records.folder(step.name, keys[step.name]))]
    if not any(step.stage == Stage.FIGURES for step in done):
        raise ValueError(f"profile {profile.name} has no figure yet; run the study first: nox -s reproduce")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        source, built = Path(scratch) / "source", Path(scratch) / "built"
        _lay_out(profile, done, keys, source)
        command = [sys.executable, "-m", "sphinx", "-b", "html", "-q", "-j", "auto", str(source), str(built)]
        ran = subprocess.run(command, capture_output=True, text=True)
        if ran.returncode:
            raise RuntimeError(
                f"the pages could not be built: {(ran.stderr.strip().splitlines() or ['no reason'])[-1]}"
            )
        shutil.rmtree(built / ".doctrees", ignore_errors=True)
        for sources in built.rglob("*.map"):  # of minified scripts, for those who debug the theme
            sources.unlink()
        shutil.rmtree(target, ignore_errors=True)
        built.rename(target)
    return target / "index.html"


def _lay_out(profile: Profile, done: list[Step], keys: dict[str, str], source: Path) -> None:
    figures = paths.project() / "figures" / profile.name
    scores = tables.read(results.folder(profile.name) / publish.SCORES)
    files.write_text(source / "conf.py", SETTINGS)
    files.write_text(source / "static" / "wide.css", WIDE)
    formulas = assets.fetch("mathjax") / "package" / "es5" / "tex-svg.js"
    files.write_whole(source / "static" / "tex-svg.js", lambda part: part.write_bytes(formulas.read_bytes()))
    shutil.copytree(figures, source / "files", ignore=shutil.ignore_patterns(".*", "*.md"))
    sections: dict[str, list[str]] = {caption: [] for caption in SECTIONS.values()}
    for step, heading in _shown(profile, done):
        run = records.folder(step.name, keys[step.name])
        page = step.name.replace("+", "-and-")
        folded = step.stage not in (Stage.LEARN, Stage.EXPLORE)  # elsewhere pictures speak, and code is a click away
        pages.write(run, source / f"{page}.ipynb", heading=heading, folded=folded, closing=_closing(run, step, keys))
        sections[SECTIONS[step.stage]].append(f"{heading or notebooks.heading(step.notebook).title} <{page}>")
    files.write_text(
        source / "learn" / "README.md", (paths.project() / "notebooks" / "learn" / "README.md").read_text()
    )
    sections["Learn"].insert(0, "The chapters <learn/README>")
    sections["All numbers"] = ["scores", "provenance"]
    files.write_text(source / "scores.md", front.table(scores))
    facts: dict[str, Any] = json.loads((figures / publish.PROVENANCE).read_text(encoding="utf-8"))
    files.write_text(source / "provenance.md", front.provenance(facts))
    shown = {name: entries for name, entries in sections.items() if entries}
    files.write_text(source / "index.md", front.index(scores, shown, ", ".join(profile.models)))


def _shown(profile: Profile, done: list[Step]) -> list[tuple[Step, str]]:
    """The steps with a page of their own, in the site's order, and a heading where the notebook's is not enough."""
    figures = [(step, "") for step in done if step.stage == Stage.FIGURES]
    return [*figures, *_shown_methods(profile, done), *_shown_networks(profile, done), *_shown_teaching(done)]


def _shown_methods(profile: Profile, done: list[Step]) -> list[tuple[Step, str]]:
    """Every variant of the first model, of several seeds the first."""
    facts, model = variants.facts(profile), next(iter(profile.models))
    first: dict[str, Step] = {}
    for step in done:
        if step.stage == Stage.COMPRESS and step.cell and step.cell.model == model:
            first.setdefault(step.cell.variant, step)
    return [(step, facts[variant]["label"]) for variant, step in first.items()]


def _shown_networks(profile: Profile, done: list[Step]) -> list[tuple[Step, str]]:
    """Every network's training or pruning, and what the units of the two that are not pruned see."""
    facts = variants.vision_facts(profile) if profile.vision else {}
    shown = []
    for step in done:
        if step.stage == Stage.VISION and step.cell and step.topic in VISION:
            not_pruned = step.cell.variant in (DENSE, UNTRAINED)
            if step.topic != "interpretability" or not_pruned:
                shown.append((step, f"{facts[step.cell.variant]['label']}: {VISION[step.topic]}"))
    return shown


def _shown_teaching(done: list[Step]) -> list[tuple[Step, str]]:
    """The chapters in the order of their page, then what explores the results."""
    text = (paths.project() / "notebooks" / "learn" / "README.md").read_text(encoding="utf-8")
    order = [*re.findall(r"\((\w+)\.ipynb\)", text), "results", "chat"]
    by_topic = {step.topic: step for step in done if step.stage in (Stage.LEARN, Stage.EXPLORE)}
    return [(by_topic[topic], "") for topic in order if topic in by_topic]


def _closing(run: Path, step: Step, keys: dict[str, str]) -> str:
    """What stands below a page: its data to download, and where they come from."""
    record = records.finished(run)
    assert record is not None  # done, or it would not be shown
    up = "../" * step.name.count("/")
    data = [file.name for file in sorted(run.iterdir()) if file.suffix in (".csv", ".png", ".svg")]
    links = ", ".join(f"{{download}}`{name} <{up}files/{name}>`" for name in data if step.stage == Stage.FIGURES)
    downloads = f"Data and pictures to download: {links}.\n\n" if links else ""
    reads = {name: keys[name] for name in step.parents}
    return f"## Data and provenance\n\n{downloads}{pages.provenance(record, step.parameters, reads)}"
