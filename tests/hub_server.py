"""A server on loopback that answers what huggingface_hub asks for models: to download them and to push."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Files = dict[str, bytes]


@dataclass
class HubServer:
    """Repositories by id, then by revision; requests that arrived: (method, path)."""

    url: str
    repositories: dict[str, dict[str, Files]] = field(default_factory=dict)
    uploads: Files = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    private: dict[str, bool] = field(default_factory=dict)

    def commit_of(self, repository: str, revision: str) -> str:
        """Forty digits that name the content."""
        content = repr(sorted(self.repositories[repository][revision].items()))
        return hashlib.sha1(content.encode()).hexdigest()

    def files_of(self, repository: str, revision: str) -> Files | None:
        """Those of a branch, or of a commit by its digits."""
        branches = self.repositories[repository]
        named = {self.commit_of(repository, branch): files for branch, files in branches.items()}
        return {**named, **branches}.get(revision)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubServer

    def do_GET(self) -> None:
        self.hub.requests.append((self.command, self.path))
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(revision|tree)/([^/?]+)(\?.*)?", self.path):
            self.describe(*found.groups()[:3])
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path):
            self.send_file(*found.groups())
        else:
            self.reply(404, {"error": "not found"})

    def do_HEAD(self) -> None:
        self.do_GET()

    def describe(self, repository: str, what: str, revision: str) -> None:
        if (files := self.known(repository, revision)) is None:
            return
        if what == "tree":
            entries = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in files.items()
            ]
            self.reply(200, entries)
            return
        siblings = [{"rfilename": name} for name in files]
        sha = next(
            self.hub.commit_of(repository, branch)
            for branch, each in self.hub.repositories[repository].items()
            if each is files
        )
        self.reply(200, {"id": repository, "sha": sha, "siblings": siblings})

    def send_file(self, repository: str, revision: str, name: str) -> None:
        files = self.known(repository, revision)
        if files is None:
            return
        if name not in files:
            self.reply(404, {"error": "no such file"}, {"X-Error-Code": "EntryNotFound"})
            return
        etag = hashlib.sha256(files[name]).hexdigest()
        self.reply(200, files[name], {"ETag": f'"{etag}"', "X-Repo-Commit": revision})

    def known(self, repository: str, revision: str) -> Files | None:
        if repository not in self.hub.repositories:
            self.reply(401, {"error": "no such repository"}, {"X-Error-Code": "RepoNotFound"})
        elif (files := self.hub.files_of(repository, revision)) is None:
            self.reply(404, {"error": "no such revision"}, {"X-Error-Code": "RevisionNotFound"})
        else:
            return files
        return None

    def do_POST(self) -> None:
        self.hub.requests.append((self.command, self.path))
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if self.path == "/api/repos/create":
            self.create(json.loads(body))
        elif self.path == "/api/validate-yaml":
            self.reply(200, {"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            asked = json.loads(body)["files"]
            modes = [
                {"path": each["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                for each in asked
            ]
            self.reply(200, {"files": modes})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/([^/?]+)(\?.*)?", self.path):
            self.commit(found[1], found[2], [json.loads(line) for line in body.splitlines()])
        else:
            self.reply(404, {"error": "not found"})

    def create(self, asked: dict[str, Any]) -> None:
        name = f"{asked.get('organization') or 'me'}/{asked['name']}"
        is_new = name not in self.hub.repositories
        self.hub.repositories.setdefault(name, {"main": {}})
        self.hub.private.setdefault(name, bool(asked.get("private") or asked.get("visibility") == "private"))
        self.reply(200 if is_new else 409, {"url": f"{self.hub.url}/{name}", "name": name})

    def commit(self, repository: str, revision: str, lines: list[dict[str, Any]]) -> None:
        files = self.hub.repositories[repository].setdefault(revision, {})
        for line in lines:
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        oid = self.hub.commit_of(repository, revision)
        self.reply(200, {"commitUrl": f"{self.hub.url}/{repository}/commit/{oid}", "commitOid": oid})

    def reply(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Nothing."""


@contextmanager
def hub_server() -> Iterator[HubServer]:
    """A running server; it stops with the block."""
    hub = HubServer("")
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
