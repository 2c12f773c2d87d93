"""A small local stand-in of the Hugging Face hub: the endpoints that its client asks for two files and for a commit."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Repo:
    private: bool = False
    gated: bool = False
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def commit(self) -> str:
        state = b"".join(name.encode() + content for name, content in sorted(self.files.items()))
        return hashlib.sha1(state).hexdigest()


class Hub:
    """``repos`` by name; ``asked``: every request so far, as "METHOD path"; ``status``: answer everything with it."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.asked: list[str] = []
        self.status: int | None = None
        self.url = ""

    def asked_for_files(self) -> set[str]:
        return {line.split()[1] for line in self.asked}


@contextmanager
def running() -> Iterator[Hub]:
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""

    def do_HEAD(self) -> None:
        self._get()

    def do_GET(self) -> None:
        self._get()

    def do_POST(self) -> None:
        self.hub.asked.append(f"POST {self.path}")
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if self.hub.status:
            self._send(self.hub.status, {"error": "stand-in"})
        elif self.path == "/api/repos/create":
            self._create(json.loads(body))
        elif self.path == "/api/validate-yaml":
            self._send(200, {"errors": [], "warnings": []})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/.+", self.path):
            paths = [file["path"] for file in json.loads(body)["files"]]
            self._send(
                200, {"files": [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in paths]}
            )
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/.+", self.path):
            self._commit(match[1], body)
        else:
            self._send(404, {"error": "unknown endpoint"})

    def _create(self, asked: dict[str, str]) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        known = name in self.hub.repos
        self.hub.repos.setdefault(name, Repo(private=asked.get("visibility") == "private"))
        self._send(409 if known else 200, {"url": f"{self.hub.url}/{name}"})

    def _commit(self, name: str, body: bytes) -> None:
        repo = self.hub.repos[name]
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                repo.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        self._send(200, {"commitUrl": f"{self.hub.url}/{name}/commit/{repo.commit}", "commitOid": repo.commit})

    def _get(self) -> None:
        self.hub.asked.append(f"{self.command} {self.path}")
        if self.hub.status:
            return self._send(self.hub.status, {"error": "stand-in"})
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)", self.path):
            repo = self.hub.repos[match[1]]
            return self._send(200, {"id": match[1], "private": repo.private, "sha": repo.commit})
        match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path)
        repo = self.hub.repos.get(match[1]) if match else None
        if match is None or repo is None:
            return self._refuse(401, "RepoNotFound")
        if repo.gated:
            return self._refuse(403, "GatedRepo")
        if match[2] not in ("main", repo.commit):
            return self._refuse(404, "RevisionNotFound")
        if match[3] not in repo.files:
            return self._refuse(404, "EntryNotFound")
        content = repo.files[match[3]]
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": repo.commit}
        return self._answer(200, content, headers)

    def _refuse(self, status: int, code: str) -> None:
        self._answer(status, b"", {"X-Error-Code": code, "X-Error-Message": "a long text of the hub"})

    def _send(self, status: int, content: object) -> None:
        self._answer(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
