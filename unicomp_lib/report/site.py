"""Lay out the pages and build the site."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from unicomp_lib import files, paths, tables
from unicomp_lib.figures import networks, panels
from unicomp_lib.inputs import assets
from unicomp_lib.report import front, pages
from unicomp_lib.study import publish, records
from unicomp_lib.study.params import Profile, profile_path
from unicomp_lib.study.steps import Step

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
    "figures": "Figures", "compress": "Methods", "vision": "GoogLeNet", "learn": "Learn", "explore": "Explore",
}  # fmt: skip
VISION = {"train": "training", "prune": "pruning and retraining", "interpretability": "what its units see"}


def teaching(profile: Profile, given: str) -> list[Step]:
    """The notebooks that a report shows and the study does not run: the chapters, and those to explore with.

    ``given`` is what the profile was asked for by: its name, or the path of its file.
    """
    folder = paths.project() / "notebooks"
    chapters = [f"learn/{file.stem}" for file in sorted((folder / "learn").glob("*.ipynb"))]
    each: dict[str, str] = {}
    for name, compression in profile.compressions.items():
        each.setdefault(compression.method, name)
    where = str(profile_path(given).resolve()) if given.endswith((".yaml", ".yml")) else given
    talk = {"profile": where, "variants": list(each.values())[:4]}
    explore = [
        Step("explore/results", "explore/results", {"profile": profile.name}),
        Step("explore/chat", "explore/chat", talk),
    ]
    return [*(Step(name, name, {}) for name in chapters), *explore]


def build(profile: Profile, steps: list[Step], keys: dict[str, str], target: Path) -> Path:
    """Build the site of all finished ``steps`` in ``target`` and return its first page.

    The folder appears whole or not at all, and replaces the one before. Raises a ``ValueError`` where no
    figure has been drawn yet, and a ``RuntimeError`` where Sphinx fails.
    """
    done = {step.name: step for step in steps if records.finished(records.folder(step.name, keys[step.name]))}
    if not any(name.startswith("figures/") for name in done):
        raise ValueError(f"profile {profile.name} has no figure yet; run the study first: nox -s reproduce")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as place:
        source, built = Path(place) / "source", Path(place) / "built"
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


def _lay_out(profile: Profile, done: dict[str, Step], keys: dict[str, str], source: Path) -> None:
    figures, results = (paths.project() / name / profile.name for name in ("figures", "results"))
    scores = tables.read(results / "scores.parquet")
    files.write_text(source / "conf.py", SETTINGS)
    files.write_text(source / "static" / "wide.css", WIDE)
    formulas = assets.fetch("mathjax") / "package" / "es5" / "tex-svg.js"
    files.write_whole(source / "static" / "tex-svg.js", lambda part: part.write_bytes(formulas.read_bytes()))
    shutil.copytree(figures, source / "files", ignore=shutil.ignore_patterns(".*"))
    sections: dict[str, list[str]] = {caption: [] for caption in SECTIONS.values()}
    for step, heading in _shown(profile, done):
        run = records.folder(step.name, keys[step.name])
        page = step.name.replace("+", "-and-")
        folded = not page.startswith(("learn/", "explore/"))  # elsewhere the pictures speak, and code is a click away
        pages.write(run, source / f"{page}.ipynb", heading=heading, folded=folded, closing=_closing(run, step, keys))
        sections[SECTIONS[page.split("/")[0]]].append(f"{heading or pages.title(step.notebook)} <{page}>")
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


def _shown(profile: Profile, done: dict[str, Step]) -> list[tuple[Step, str]]:
    """The steps with a page of their own, in the site's order, and a heading where the notebook's is not enough."""
    model = next(iter(profile.models))
    found = [(done[name], "") for name in done if name.startswith("figures/")]
    for variant in profile.compressions:
        stem = f"compress/{model}/{variant}"
        seeds = [step for name, step in done.items() if name == stem or name.startswith(f"{stem}/seed-")]
        found += [(step, panels.name(variant)) for step in seeds[:1]]
    for name, step in done.items():
        _, variant, *kind = name.split("/") if name.startswith("vision/") else ("", "")
        if kind in (["train"], ["prune"]) or (kind == ["interpretability"] and variant in ("dense", "untrained")):
            found.append((step, f"{networks.name(variant)}: {VISION[kind[0]]}"))
    text = (paths.project() / "notebooks" / "learn" / "README.md").read_text(encoding="utf-8")
    chapters = [f"learn/{chapter}" for chapter in re.findall(r"\((\w+)\.ipynb\)", text)]
    return found + [(done[name], "") for name in (*chapters, "explore/results", "explore/chat") if name in done]


def _closing(run: Path, step: Step, keys: dict[str, str]) -> str:
    """What stands below a page: its data to download, and where they come from."""
    record = records.finished(run)
    assert record is not None  # done, or it would not be shown
    up = "../" * step.name.count("/")
    data = [file.name for file in sorted(run.iterdir()) if file.suffix in (".csv", ".png", ".svg")]
    links = ", ".join(f"{{download}}`{name} <{up}files/{name}>`" for name in data if step.name.startswith("figures/"))
    downloads = f"Data and pictures to download: {links}.\n\n" if links else ""
    reads = {name: keys[name] for name in step.parents}
    return f"## Data and provenance\n\n{downloads}{pages.provenance(record, step.parameters, reads)}"
