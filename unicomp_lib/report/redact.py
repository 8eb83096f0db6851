"""Folders of the machine and of its user, taken out of what a report shows."""

import html
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from unicomp_lib import paths


def redacted(content: Any, given: object = None) -> Any:
    """``content``, a notebook or a part of one, without the machine's folders in any of its texts.

    A path in the checkout or the cache is shown from there on, one below the user's home with ``~`` in front, and
    one that was ``given`` as a parameter and lies elsewhere as its last part. Pictures stay as they are.
    """
    return _walked(content, _shown(given))


def _walked(content: Any, shown: dict[str, str]) -> Any:
    if isinstance(content, dict):
        return {key: part if _is_picture(key) else _walked(part, shown) for key, part in content.items()}
    if isinstance(content, list | tuple):
        return [_walked(part, shown) for part in content]
    return _replaced(content, shown) if isinstance(content, str) else content


def _is_picture(key: object) -> bool:
    return str(key).startswith("image/") and key != "image/svg+xml"


def _shown(given: object) -> dict[str, str]:
    """Every form of every folder that is not to be seen, with what is shown in its place."""
    folders: dict[Path, str] = {}
    for name, places in _folders().items():
        for place in places:
            for path in (place.absolute(), place.resolve()):
                folders.setdefault(path, name)
    inside = [path for path, name in folders.items() if name == "."]
    for path in map(Path, _absolute(given)):
        if not any(path.is_relative_to(folder) for folder in inside):
            folders[path] = path.name
    return {form: name for path, name in folders.items() if path.name for form in _forms(str(path))}


def _folders() -> dict[str, list[Path]]:
    """What is shown of a folder, and the folders it is shown for; as they were named and as links lead."""
    project, cache = [paths.project(), Path(paths.__file__).parent.parent], [paths.home()]
    if (here := Path(os.environ.get("PWD", "/"))).resolve() == paths.project():
        project.append(here)
    if chosen := os.environ.get("UNICOMP_HOME"):
        cache.append(Path(chosen).expanduser())
    return {
        ".": [*project, *cache], "~": [Path.home()], "tmp": [Path(tempfile.gettempdir())], "python": [Path(sys.prefix)],
        "..": [folder.parent for folder in project],
    }  # fmt: skip


def _absolute(given: object) -> Iterator[str]:
    """The absolute paths among parameters, within lists and mappings too."""
    if isinstance(given, dict | list | tuple):
        for part in given.values() if isinstance(given, dict) else given:
            yield from _absolute(part)
    elif isinstance(given, str) and given.startswith(("/", "~/")):
        yield given
        yield str(Path(given).expanduser())


def _forms(folder: str) -> set[str]:
    """A folder as it stands in text, in JSON, in HTML and in an address."""
    escaped = {folder, json.dumps(folder)[1:-1]}
    return {*escaped, *(form.replace("/", "\\/") for form in escaped), html.escape(folder), quote(folder)}


def _replaced(text: str, shown: dict[str, str]) -> str:
    def name(found: re.Match[str]) -> str:
        place, slash = shown[found["folder"]], found["slash"] or ""
        return "" if slash and place == "." else place + slash

    return _pattern(tuple(sorted(shown, key=len, reverse=True))).sub(name, text)


@cache
def _pattern(folders: tuple[str, ...]) -> re.Pattern[str]:
    """One of the folders with nothing of a longer name around it, and the slash behind it if there is one."""
    before = r"(?:(?<![\w.-])|(?<=\\[nrt]))"  # in JSON within a text, a new line is a backslash and a letter
    return re.compile(rf"{before}(?P<folder>{'|'.join(map(re.escape, folders))})(?:(?P<slash>\\?/)|(?![\w-]|\.\w))")
