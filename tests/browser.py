"""A real browser for the report's pages, without a screen."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

FOUND = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@contextmanager
def opened(page: Path) -> Iterator:
    """The page in a browser, from disk; at its end nothing may have gone wrong in it, nor asked a network."""
    from playwright.sync_api import sync_playwright

    if FOUND is None:
        pytest.skip("no browser on this machine: apt-get install chromium")
    wrong: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=FOUND, args=FLAGS)
        view = browser.new_page(viewport={"width": 1280, "height": 900})
        view.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        view.on("pageerror", lambda error: wrong.append(str(error)))
        view.on("requestfailed", lambda request: wrong.append(f"failed: {request.url}"))
        local = ("file://", "data:", "blob:")
        view.on("request", lambda asked: None if asked.url.startswith(local) else wrong.append(f"asked: {asked.url}"))
        view.goto(page.as_uri())
        view.wait_for_load_state("networkidle")
        yield view
        browser.close()
    assert wrong == []
