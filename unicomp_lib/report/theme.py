"""How the site looks: settings of Sphinx, and what its theme lacks."""

# All that a page needs lies beside it: formulas are drawn by a copy of MathJax. Names and labels are free text,
# so HTML in markdown stays text. Pictures are given a scale, since
# Sphinx then links them to their files, to be opened in full.
SETTINGS = """project = "What compression really does to a model"
author = "the study's authors"
extensions = ["myst_nb", "sphinx.ext.mathjax"]
html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["static"]
html_css_files = ["study.css"]
html_context = {"default_mode": "auto"}
mathjax_path = "tex-svg.js"
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_disable_syntax = ["html_block", "html_inline"]
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
# What is wider than a phone, a formula, a table or a line of output, scrolls by itself.
STYLE = """.bd-header { display: none; }
.bd-main .bd-content .bd-article-container { max-width: 70em; }
.bd-main .bd-content:not(:has(.bd-sidebar-secondary)) .bd-article-container { max-width: 100%; }
article img { max-width: 100%; height: auto !important; padding: 0 !important; }
article code, article code .pre { overflow-wrap: anywhere; white-space: normal; }
article pre code, article pre code .pre { white-space: pre; }
mjx-container { max-width: 100%; overflow: auto hidden; }
mjx-container[display="true"] { display: block; }
article .pst-scrollable-table-container, article .cell_output { max-width: 100%; overflow-x: auto; }
#scores { width: 100%; }
#scores th, #scores td { min-width: 6em; padding: 4px; }
#scores .dt-type-numeric { min-width: 4.6em; }
#scores thead input { width: 0; min-width: 100%; padding: 2px; font-size: 0.85em; }
#scores thead input::placeholder { color: var(--pst-color-text-muted); opacity: 1; }
html.dark #scores thead input, html.dark .dt-container .dt-input {
  background: var(--pst-color-surface); color: var(--pst-color-text-base); border: 1px solid var(--pst-color-border);
}
html.dark .dt-container, html.dark #scores { color: var(--pst-color-text-base); }
"""
