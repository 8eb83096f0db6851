"""How the study is cited: ``CITATION.cff`` as BibTeX."""

from typing import Any

import yaml

from unicomp_lib import paths
from unicomp_lib.compare.written import escaped

# What BibTeX calls an entry of the Citation File Format 1.2.0, and the field that says where it appeared.
KINDS = {
    "software": ("software", ""),
    "conference-paper": ("inproceedings", "booktitle"),
    "article": ("article", "journal"),
}


def read() -> dict[str, Any]:
    """The content of the checkout's ``CITATION.cff``."""
    content: dict[str, Any] = yaml.safe_load((paths.project() / "CITATION.cff").read_text(encoding="utf-8"))
    return content


def authors(entry: dict[str, Any]) -> list[str]:
    """Names as BibTeX has them: ``von Rad, Jonathan``, or that of a group in braces, which has no parts."""
    return [_author(author) for author in entry["authors"]]


def bibtex() -> str:
    """An entry for the study and one for each work that it asks to cite with it."""
    content = read()
    return "\n\n".join(map(_entry, [content, *content.get("references", [])]))


def _author(author: dict[str, str]) -> str:
    if "name" in author:
        return f"{{{author['name']}}}"
    family = " ".join(author[part] for part in ("name-particle", "family-names") if part in author)
    return f"{family}, {author['given-names']}" if "given-names" in author else family


def _entry(entry: dict[str, Any]) -> str:
    kind, where = KINDS[entry["type"]]
    appeared = entry.get("journal") or entry.get("conference", {}).get("name", "")
    fields = {
        "author": " and ".join(authors(entry)), "title": f"{{{escaped(entry['title'])}}}", where: escaped(appeared),
        "year": entry.get("year", ""), "version": entry.get("version", ""), "url": entry.get("url", ""),
    }  # fmt: skip
    shown = [f"  {name} = {{{value}}}" for name, value in fields.items() if name and value]
    return ",\n".join([f"@{kind}{{{_key(entry)}", *shown]) + "\n}"


def _key(entry: dict[str, Any]) -> str:
    named = entry["authors"][0].get("family-names") or entry["title"].partition(":")[0]
    return "".join(filter(str.isalnum, f"{named}{entry.get('year', '')}")).lower()
