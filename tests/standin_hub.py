"""A hub of one machine: the few addresses that huggingface_hub's client asks for, served on 127.0.0.1."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

LARGE = 20_000  # bytes; from here on a file is served as Git LFS would be, with its sha256


@dataclass
class StandInHub:
    """`repos`: repository → its commits, oldest first → path → content. The last commit is `main`."""

    endpoint: str = ""
    repos: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    refusals: dict[str, tuple[int, str]] = field(default_factory=dict)  # repository → status, X-Error-Code
    drops: list[str] = field(default_factory=list)  # files whose next download breaks off half-way
    corrupt: set[str] = field(default_factory=set)  # files that arrive with a wrong byte
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)  # method, path, Range

    def publish(self, repo: str, files: dict[str, bytes]) -> str:
        """Add a commit on top; returns its name."""
        commits = self.repos.setdefault(repo, {})
        commit = hashlib.sha1(f"{repo}{len(commits)}".encode()).hexdigest()
        commits[commit] = files
        return commit

    def downloads(self, name: str) -> list[str | None]:
        """The Range of each GET of a file, None where all of it was asked for."""
        return [span for method, path, span in self.asked if method == "GET" and path.endswith(f"/{name}")]


@contextmanager
def serve() -> Iterator[StandInHub]:
    hub = StandInHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


class _Handler(BaseHTTPRequestHandler):
    hub: StandInHub
    timeout = 10
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._answer()

    def do_GET(self):
        self._answer()

    def _answer(self):
        path = unquote(urlsplit(self.path).path).strip("/")
        self.hub.asked.append((self.command, path, self.headers.get("Range")))
        about = path.startswith("api/models/")
        words = path.removeprefix("api/models/").split("/")
        repo = "/".join(words[:2])
        if repo in self.hub.refusals:
            return self._refuse(*self.hub.refusals[repo])
        if repo not in self.hub.repos:
            return self._refuse(404, "RepoNotFound")
        commits = self.hub.repos[repo]
        revision = words[3] if len(words) > 3 else "main"
        commit = list(commits)[-1] if revision == "main" else revision
        if commit not in commits:
            return self._refuse(404, "RevisionNotFound")
        if about:
            listed = (
                _list(commits[commit]) if words[2:3] == ["tree"] else _describe(repo, commit, commits[commit])
            )
            return self._send(json.dumps(listed).encode(), {})
        name = "/".join(words[4:])
        if name not in commits[commit]:
            return self._refuse(404, "EntryNotFound")
        self._send_file(commit, name, commits[commit][name])

    def _send_file(self, commit: str, name: str, content: bytes):
        headers = {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'}
        if len(content) >= LARGE:
            headers |= {
                "X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"',
                "X-Linked-Size": str(len(content)),
            }
        if name in self.hub.corrupt:
            content = bytes([content[0] ^ 1]) + content[1:]
        self._send(content, headers, drop=self.command == "GET" and name in self.hub.drops, name=name)

    def _send(self, content: bytes, headers: dict[str, str], *, drop: bool = False, name: str = ""):
        start = 0
        if span := self.headers.get("Range"):
            start = int(span.removeprefix("bytes=").split("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.send_response(206 if span else 200)
        for key, value in (headers | {"Content-Length": str(len(content) - start)}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if drop:
            self.hub.drops.remove(name)
            self.wfile.write(content[start : start + (len(content) - start) // 2])
            self.close_connection = True
        else:
            self.wfile.write(content[start:])

    def _refuse(self, status: int, code: str):
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _describe(repo: str, commit: str, files: dict[str, bytes]) -> dict:
    siblings = []
    for name, content in files.items():
        about = {"rfilename": name, "size": len(content), "blobId": hashlib.sha1(content).hexdigest()}
        if len(content) >= LARGE:
            sha256 = hashlib.sha256(content).hexdigest()
            about["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 134}
        siblings.append(about)
    return {"id": repo, "modelId": repo, "sha": commit, "siblings": siblings, "tags": [], "private": False}


def _list(files: dict[str, bytes]) -> list[dict]:
    """As `huggingface_hub.snapshot_download` asks for a commit's files."""
    listed = []
    for name, content in files.items():
        entry = {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
        if len(content) >= LARGE:
            sha256 = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 134}
        listed.append(entry)
    return listed
