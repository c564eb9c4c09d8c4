"""A server on loopback that takes what W&B's client really sends, and answers as little as satisfies it."""

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class ReceivedRun:
    """What arrived of runs.

    Attributes:
        requests: every GraphQL request: (query, variables).
        history: lines of the file stream, parsed.
        summary: the last one.
        files: names of uploaded files to their contents.
        config: the last one.
        known: ids of the runs that exist.
        exit_code: the last one.
        views: of projects, by upsertView.
    """

    url: str
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    exit_code: int | None = None
    views: list[dict[str, Any]] = field(default_factory=list)

    def named(self, operation: str) -> list[dict[str, Any]]:
        """Variables of the requests whose query holds ``operation``."""
        return [variables for query, variables in self.requests if operation in query]


def _resumed(name: str, received: ReceivedRun) -> dict[str, Any] | None:
    """What the server holds of a run that the client asks to go on with."""
    if name not in received.known:
        return None
    tail = [json.dumps(line) for line in received.history[-1:]]
    return {
        "id": "b",
        "name": name,
        "displayName": name,
        "tags": [],
        "notes": "",
        "logLineCount": 0,
        "eventsLineCount": 0,
        "eventsTail": "[]",
        "historyLineCount": len(received.history),
        "historyTail": json.dumps(tail),
        "summaryMetrics": json.dumps(received.summary),
        "config": json.dumps(received.config),
        "wandbConfig": json.dumps({"t": 1}),
    }


def _titles(variables: dict[str, Any]) -> dict[str, Any]:
    return {"name": variables["name"], "displayName": variables["displayName"]}


def _answer(query: str, variables: dict[str, Any], received: ReceivedRun) -> dict[str, Any]:
    if "upsertBucket" in query:
        received.config.update(json.loads(variables.get("config") or "{}"))
        received.known.add(variables.get("name"))
        bucket = {
            "id": "b",
            "name": variables.get("name"),
            "displayName": variables.get("displayName"),
            "description": "",
            "config": "{}",
            "sweepName": None,
            "historyLineCount": 0,
            "project": {"id": "p", "name": variables.get("project"), "entity": {"id": "e", "name": "lab"}},
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": True}}
    if "RunResumeStatus" in query:
        entity = {"id": "e", "name": "lab"}
        bucket = _resumed(variables["name"], received)
        return {"model": {"id": "p", "name": variables["project"], "entity": entity, "bucket": bucket}}
    if "createRunFiles" in query:
        files = [
            {"name": name, "uploadUrl": f"{received.url}/upload/{name}"}
            for name in variables.get("files", [])
        ]
        return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
    if "viewer" in query:
        return {
            "viewer": {"id": "u", "entity": "lab", "username": "lab", "flags": "{}", "teams": {"edges": []}}
        }
    if "allViews" in query:
        nodes = [view for view in received.views if view["name"] == variables["viewName"]]
        return {"project": {"allViews": {"edges": [{"node": view} for view in nodes]}}}
    if "upsertView" in query:
        if "id" not in variables:
            received.views.append(
                {"id": f"v{len(received.views)}", "spec": variables["spec"], **_titles(variables)}
            )
        return {"upsertView": {"view": {"id": "v", "name": "nw-v", "type": "project-view"}, "inserted": True}}
    return {}


class _Handler(BaseHTTPRequestHandler):
    received: ReceivedRun
    protocol_version = "HTTP/1.1"

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _reply(self, answer: dict[str, Any]) -> None:
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        content = self._body()
        if self.path.endswith("/graphql"):
            message = json.loads(content)
            query, variables = message["query"], message.get("variables") or {}
            self.received.requests.append((query, variables))
            self._reply({"data": _answer(query, variables, self.received)})
            return
        if self.path.endswith("/file_stream"):
            self._take_stream(json.loads(content))
        # the rest is telemetry of the client's own, in protobuf
        self._reply({"limits": {}})

    def _take_stream(self, message: dict[str, Any]) -> None:
        files = message.get("files") or {}
        lines = files.get("wandb-history.jsonl", {}).get("content", [])
        self.received.history += [json.loads(line) for line in lines]
        for line in files.get("wandb-summary.json", {}).get("content", []):
            self.received.summary = json.loads(line)
        if message.get("complete"):
            self.received.exit_code = message.get("exitcode")

    def do_PUT(self) -> None:
        self.received.files[self.path.partition("/upload/")[2]] = self._body()
        self._reply({})

    def do_GET(self) -> None:
        self._reply({})

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The client drops connections when it ends; anything else is a fault of this file."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def wandb_server() -> Iterator[ReceivedRun]:
    """Serve until the block ends."""
    server = _Server(("127.0.0.1", 0), _Handler)
    received = ReceivedRun(url=f"http://127.0.0.1:{server.server_address[1]}")
    server.RequestHandlerClass = type("Handler", (_Handler,), {"received": received})
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
