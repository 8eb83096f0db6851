"""A Hugging Face hub on 127.0.0.1: what its clients ask for when they download models and data sets.

``Hub(folder)`` serves ``folder/models/OWNER/NAME`` and ``folder/datasets/OWNER/NAME``, each at whatever commit is
asked for, and counts the requests. ``publish`` fills the folder with rows in the form of the real data sets.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import polars as pl
import yaml

LARGE = 1_000_000  # bytes from which a file counts as large, as on the hub


@dataclass
class Hub:
    """What is served, what is refused, and what was asked."""

    folder: Path
    gated: set[str] = field(default_factory=set)
    statuses: dict[str, int] = field(default_factory=dict)  # of every answer about a repository, as of a faulty hub
    broken: int = 0  # transfers of large files that still break off in the middle
    requests: list[str] = field(default_factory=list)
    endpoint: str = ""


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve until the block ends; ``hub.endpoint`` is what ``HF_ENDPOINT`` has to be."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        path = unquote(url.path)
        self.hub.requests.append(f"{self.command} {path}")
        if told := re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/([a-z-]+)(?:/([^/]+)(?:/(.*))?)?)?", path):
            self._about(*told.groups(), parse_qs(url.query), body)
        elif told := re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            kind, repository, revision, inside = told.groups()
            self._file("datasets" if kind else "models", repository, revision, inside)
        else:
            self._answer(404, {"error": f"no such page: {path}"})

    do_HEAD = do_POST = do_GET  # noqa: N815, the names that BaseHTTPRequestHandler looks for

    def _about(
        self, kind: str, repository: str, what: str, revision: str, inside: str, query: dict, body: bytes
    ) -> None:
        folder = self.hub.folder / kind / repository
        if status := self.hub.statuses.get(repository):
            self._answer(status, {"error": "Invalid username or password." if status == 401 else "not now"})
        elif not folder.is_dir():
            self._refuse(404, "RepoNotFound", "Repository not found")
        elif what == "auth-check" and repository in self.hub.gated:
            self._refuse(403, "GatedRepo", f"Access to {repository} is restricted.")
        elif what == "auth-check":
            self._answer(200, {})
        elif what in (None, "revision"):
            names = [str(file.relative_to(folder)) for file in sorted(folder.rglob("*")) if file.is_file()]
            self._answer(200, {
                "_id": "1", "id": repository, "sha": _commit(repository, revision), "private": False,
                "gated": "manual" if repository in self.hub.gated else False, "disabled": False, "downloads": 1,
                "likes": 0, "tags": [], "lastModified": "2025-01-01T00:00:00.000Z",
                "siblings": [{"rfilename": name} for name in names],
            })  # fmt: skip
        elif what == "tree" and not (folder / (inside or "")).is_dir():
            self._refuse(404, "EntryNotFound", "Entry not found")
        elif what == "tree":
            base = folder / (inside or "")
            deep = query.get("recursive", ["false"])[0].lower() in ("1", "true")
            self._answer(200, [_entry(path, folder) for path in sorted(base.rglob("*") if deep else base.iterdir())])
        elif what == "paths-info":
            wanted = json.loads(body)["paths"] if body.startswith(b"{") else parse_qs(body.decode()).get("paths", [])
            self._answer(200, [_entry(folder / name, folder) for name in wanted if (folder / name).exists()])
        else:
            branch = {"name": "main", "ref": "refs/heads/main", "targetCommit": _commit(repository, "main")}
            self._answer(200, {"branches": [branch], "tags": [], "converts": []})

    def _file(self, kind: str, repository: str, revision: str, inside: str) -> None:
        file = self.hub.folder / kind / repository / inside
        commit = {"X-Repo-Commit": _commit(repository, revision)}
        if repository in self.hub.gated:
            return self._refuse(403, "GatedRepo", f"Access to {repository} is restricted.", commit)
        if not file.is_file():
            return self._refuse(404, "EntryNotFound", "Entry not found", commit)
        content = file.read_bytes()
        asked = re.match(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(asked[1]) if asked else 0
        headers = {**commit, "ETag": f'"{hashlib.sha256(content).hexdigest()}"', "Accept-Ranges": "bytes"}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        cut = self.command == "GET" and self.hub.broken > 0 and len(content) > LARGE
        self.hub.broken -= cut
        return self._answer(206 if start else 200, content[start:], headers, cut=cut)

    def _refuse(self, code: int, name: str, message: str, headers: dict[str, str] | None = None) -> None:
        self._answer(code, {"error": message}, {"X-Error-Code": name, "X-Error-Message": message, **(headers or {})})

    def _answer(self, code: int, content: Any, headers: dict[str, str] | None = None, *, cut: bool = False) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
            self.wfile.flush()
        self.close_connection = self.close_connection or cut


def _commit(repository: str, revision: str | None) -> str:
    """A revision that is a commit is itself; a branch has one commit."""
    given = revision or "main"
    return given if re.fullmatch("[0-9a-f]{40}", given) else hashlib.sha1(repository.encode()).hexdigest()


def _entry(path: Path, folder: Path) -> dict[str, Any]:
    name = str(path.relative_to(folder))
    if path.is_dir():
        return {"type": "directory", "oid": _commit(name, None), "size": 0, "path": name}
    size = path.stat().st_size
    entry = {"type": "file", "oid": hashlib.sha1(path.read_bytes()).hexdigest(), "size": size, "path": name}
    if size > LARGE:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        entry["lfs"] = {"oid": digest, "size": size, "pointerSize": 134}
    return entry


def publish(folder: Path, repository: str, configs: dict[str, dict[str, list[dict[str, Any]]]]) -> Path:
    """Put a data set into a hub's folder: ``{config: {split: rows}}``, a Parquet file each, listed in its card."""
    home = folder / "datasets" / repository
    listed = []
    for config, splits in configs.items():
        for split, rows in splits.items():
            (home / config).mkdir(parents=True, exist_ok=True)
            pl.DataFrame(rows).write_parquet(home / config / f"{split}-00000-of-00001.parquet")
        names = [{"split": split, "path": f"{config}/{split}-*"} for split in splits]
        listed.append({"config_name": config, "data_files": names})
    (home / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': listed})}---\n# A data set\n")
    return home
