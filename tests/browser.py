"""A real browser for the report's pages, without a screen, and what is asked of every page."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

FOUND = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
DESK, PHONE = 1280, 390  # pixels of width

# The lowest contrast of text with what lies behind it, over all that can be used in an element, and where it is.
CONTRAST = """element => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = colour => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const behind = node => {
    for (let each = node; each; each = each.parentElement) {
      const colour = rgba(getComputedStyle(each).backgroundColor);
      if (colour[3] > 200) return colour;
    }
    return [255, 255, 255, 255];
  };
  const light = colour => {
    const [r, g, b] = colour.map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  let lowest = [21, ""];
  for (const node of element.querySelectorAll("*")) {
    const own = [...node.childNodes].some(child => child.nodeType == 3 && child.data.trim());
    if (!(own || node.tagName == "INPUT") || !node.checkVisibility()) continue;
    if (node.matches(".headerlink, .disabled")) continue;
    const [a, b] = [light(rgba(getComputedStyle(node).color)), light(behind(node))].sort((x, y) => x - y);
    const contrast = (b + 0.05) / (a + 0.05);
    if (contrast < lowest[0]) lowest = [contrast, node.outerHTML.slice(0, 200)];
  }
  return lowest;
}"""


@contextmanager
def opened(page: Path, *, width: int = DESK, scheme: str = "light") -> Iterator:
    """The page in a browser, from disk; at its end nothing may have gone wrong in it, nor asked a network."""
    with browsing(width=width, scheme=scheme) as view:
        visit(view, page)
        yield view


@contextmanager
def browsing(*, width: int = DESK, scheme: str = "light") -> Iterator:
    """A browser for many pages; at its end nothing may have gone wrong in them, nor asked a network."""
    from playwright.sync_api import sync_playwright

    if FOUND is None:
        pytest.skip("no browser on this machine: apt-get install chromium")
    wrong: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=FOUND, args=FLAGS)
        view = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        view.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        view.on("pageerror", lambda error: wrong.append(str(error)))
        view.on("requestfailed", lambda request: wrong.append(f"failed: {request.url}"))
        local = ("file://", "data:", "blob:")
        view.on("request", lambda asked: None if asked.url.startswith(local) else wrong.append(f"asked: {asked.url}"))
        yield view
        browser.close()
    assert wrong == []


def visit(view, page: Path) -> None:
    """Go to the page and wait until its formulas and the table of scores are drawn."""
    view.goto(page.as_uri())
    view.evaluate("() => window.MathJax?.startup?.promise")
    view.wait_for_function("!document.querySelector('table#scores') || document.querySelector('.dt-info')")


def pages(site: Path) -> list[Path]:
    """All pages of a report, without what its theme brings along."""
    return [page for page in sorted(site.rglob("*.html")) if "_static" not in page.parts]


def dead_links(site: Path) -> list[str]:
    """Links, pictures and scripts of all pages that lead to no file or to no place in it, each with its page."""
    dead = []
    for page in pages(site):
        text = page.read_text(encoding="utf-8")
        for link in re.findall(r"<[^>]*?\s(?:href|src)=\"([^\"]*)\"", text):
            parts = urlsplit(unescape(link))
            if parts.scheme or parts.netloc:
                continue
            there = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            place = unquote(parts.fragment)
            if not there.is_file() or (place and f'id="{place}"' not in there.read_text(encoding="utf-8")):
                dead.append(f"{page.relative_to(site)}: {link}")
    return dead
