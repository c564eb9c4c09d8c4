"""Downloads one file: resumed after interruptions, checked, and renamed when complete."""

import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import requests

from srlab.atomic_files import atomic_write
from srlab.extensions.downloads.catalogue import RemoteFile
from srlab.locks import locked_work
from srlab.models.sources import is_offline
from srlab.official_files import file_digest

log = logging.getLogger(__name__)

#: Shows progress: bytes that are there, bytes in all (None: unknown), the file's name.
Report = Callable[[int, int | None, str], None]

#: Bytes per read: what a breaking connection loses at most, since requests drops an incomplete read.
CHUNK = 1 << 15
_TIMEOUT_S = (15.0, 60.0)  # until connected, and between bytes
#: Waits between attempts, in seconds; a connection that brought something starts over with the first.
_PAUSES_S = (1.0, 2.0, 4.0, 8.0, 16.0)
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
_BROKEN = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
)


class BrokenTransferError(OSError):
    """The connection broke, or the server failed for the moment; another attempt may succeed."""


class Answer(NamedTuple):
    """What a response says of the file.

    Attributes:
        start: byte at which its content begins.
        total: bytes of the whole file; None: the server does not say.
        validator: ETag or date, by which a later response of the same file is recognised; None: neither.
    """

    start: int
    total: int | None
    validator: str | None


def fetch(
    remote: RemoteFile, folder: Path, *, report: Report, pause: Callable[[float], None] = time.sleep
) -> Path:
    """The file in ``folder``, downloaded unless it is there; two processes download it once.

    A partial file is resumed by ``Range`` with ``If-Range``; servers without it send everything again.
    Next to the file stands ``.<file>.json`` with its URL, size, SHA-256 and date.

    Args:
        remote: what to download.
        folder: created if it is missing.
        report: called while bytes arrive.
        pause: waits that many seconds between attempts.

    Raises:
        ValueError: SRLAB_OFFLINE is set, the server refuses, or the bytes are not the expected ones.
        OSError: the connection broke too often, or the disk is full.
        HolderHangsError: another process downloads it and makes no progress.
    """
    path = folder / remote.file
    if is_complete(remote, folder):
        return path
    refuse_offline(remote)
    folder.mkdir(parents=True, exist_ok=True)
    partial = partial_path(remote, folder)
    with locked_work(folder / f".{remote.file}.lock", work=f"download of {remote.name}", watched=partial):
        if not is_complete(remote, folder):
            _attempts(remote, partial, report, pause)
            record = _checked(remote, partial, read_record(remote, folder))
            with atomic_write(_record_path(remote, folder)) as new:
                new.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")
            partial.replace(path)
            _state_path(partial).unlink(missing_ok=True)
    return path


def refuse_offline(remote: RemoteFile) -> None:
    """Raise a ``ValueError`` where SRLAB_OFFLINE forbids to ask a server."""
    if is_offline():
        raise ValueError(
            f"SRLAB_OFFLINE is set, and {remote.name} is not there; unset it to download {remote.url}"
        )


def partial_path(remote: RemoteFile, folder: Path) -> Path:
    """What has arrived of a file that is not complete."""
    return folder / f".{remote.file}.partial"


def is_complete(remote: RemoteFile, folder: Path) -> bool:
    """Whether the file is there as it was checked: with the size of its record, from the same URL."""
    record, path = read_record(remote, folder), folder / remote.file
    return path.is_file() and record.get("url") == remote.url and record.get("size") == path.stat().st_size


def read_record(remote: RemoteFile, folder: Path) -> Mapping[str, Any]:
    """What was noted at the last complete download; empty without one."""
    return _read_json(_record_path(remote, folder))


def _attempts(remote: RemoteFile, partial: Path, report: Report, pause: Callable[[float], None]) -> None:
    """Ask until the partial file is complete."""
    failures, farthest = 0, _size(partial)
    while (error := _failure(remote, partial, report)) is not None:
        failures = 1 if _size(partial) > farthest else failures + 1
        farthest = max(farthest, _size(partial))
        if failures > len(_PAUSES_S):
            raise BrokenTransferError(
                f"{remote.url}: {error}, {failures} times in a row; what arrived is kept, and the same "
                "command resumes there"
            ) from error
        wait_s = _PAUSES_S[failures - 1]
        log.info("%s: %s; next attempt in %.0f s", remote.name, error, wait_s)
        pause(wait_s)


def _failure(remote: RemoteFile, partial: Path, report: Report) -> BrokenTransferError | None:
    """Why an attempt ended early; None if the file is complete."""
    try:
        _one_attempt(remote, partial, report)
    except BrokenTransferError as error:
        return error
    return None


def _one_attempt(remote: RemoteFile, partial: Path, report: Report) -> None:
    """One request, from the end of the partial file on if the server still has the same file."""
    state, have = _read_json(_state_path(partial)), _size(partial)
    validator = state.get("validator") if state.get("url") == remote.url else None
    if have > 0 and validator is not None and have == state.get("total"):
        return
    resumes = have > 0 and validator is not None
    headers = {"Accept-Encoding": "identity"}
    if resumes:
        headers |= {"Range": f"bytes={have}-", "If-Range": str(validator)}
    try:
        with requests.get(remote.url, headers=headers, stream=True, timeout=_TIMEOUT_S) as response:
            if response.status_code == 416:  # longer than the server's file
                partial.unlink()
                raise BrokenTransferError("the server's file is shorter than what was downloaded")
            _refuse_status(remote, response)
            answer = _answer(response)
            if answer.start not in (0, have):
                raise BrokenTransferError(f"the server sent bytes from {answer.start} on, not from {have}")
            _refuse_size(remote, answer)
            _require_space(partial, answer, remote)
            _state_path(partial).write_text(json.dumps({"url": remote.url, **answer._asdict()}))
            _write(response, partial, answer, lambda done: report(done, answer.total, remote.name))
    except _BROKEN as error:
        raise BrokenTransferError(f"the connection broke ({type(error).__name__})") from error


def _refuse_status(remote: RemoteFile, response: requests.Response) -> None:
    status = response.status_code
    if status in (200, 206):
        return
    if status in _TRANSIENT:
        raise BrokenTransferError(f"the server answered {status} {response.reason}")
    raise ValueError(
        f"{response.url} answered {status} {response.reason}: {remote.name} is not there any more, or not "
        f"for everyone. Its address was stated by {remote.source}; if it has moved, download it by hand"
    )


def _refuse_size(remote: RemoteFile, answer: Answer) -> None:
    if answer.total is not None and remote.size not in (None, answer.total):
        raise ValueError(
            f"{remote.url} offers {answer.total} bytes, expected {remote.size}: the server has another file "
            f"than the one known from {remote.source}"
        )


def _answer(response: requests.Response) -> Answer:
    headers, start, total = response.headers, 0, None
    if response.status_code == 206:
        span, _, whole = headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        first = span.partition("-")[0]
        if not first.isdecimal():
            raise BrokenTransferError("the server sent a part and does not say which")
        start, total = int(first), int(whole) if whole.isdecimal() else None
    elif headers.get("Content-Length", "").isdecimal():
        total = int(headers["Content-Length"])
    etag = headers.get("ETag")
    strong = etag if etag and not etag.startswith("W/") else None  # If-Range takes strong ones only
    return Answer(start, total, strong or headers.get("Last-Modified"))


def _require_space(partial: Path, answer: Answer, remote: RemoteFile) -> None:
    total = answer.total or remote.size
    if total is None:
        return
    missing, free = total - answer.start, shutil.disk_usage(partial.parent).free
    if missing > free:
        raise OSError(
            f"{remote.name} needs {missing / 2**20:.0f} MiB more, {partial.parent} has "
            f"{free / 2**20:.0f} MiB free; make room (srlab download --clear), or set SRLAB_CACHE to "
            "another folder"
        )


def _write(
    response: requests.Response, partial: Path, answer: Answer, progress: Callable[[int], None]
) -> None:
    done = answer.start
    with partial.open("r+b" if answer.start else "wb") as stream:
        stream.seek(done)
        for chunk in response.iter_content(CHUNK):
            stream.write(chunk)
            done += len(chunk)
            progress(done)
        stream.truncate()
    if answer.total is not None and done != answer.total:
        raise BrokenTransferError(f"the connection ended after {done} of {answer.total} bytes")


def _checked(remote: RemoteFile, partial: Path, earlier: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a complete file; one with other bytes than expected is deleted."""
    size, sha256 = _size(partial), file_digest(partial)
    known = remote.digest
    if known is None and earlier.get("url") == remote.url:
        known = f"sha256:{earlier['sha256']}"
    kind, _, expected = (known or f"sha256:{sha256}").partition(":")
    found = sha256 if kind == "sha256" else file_digest(partial, kind)
    if found != expected:
        partial.unlink()
        raise ValueError(
            f"{remote.url} sent {size} bytes with {kind} {found}, expected {expected}; they were deleted. "
            f"Try again; if it stays so, the server has another file than the one known from {remote.source}"
        )
    if known is None:
        log.warning(
            "%s: no checksum is known; its sha256 %s is recorded for the next time", remote.name, sha256
        )
    return {"url": remote.url, "size": size, "sha256": sha256, "downloaded": time.strftime("%Y-%m-%d")}


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _record_path(remote: RemoteFile, folder: Path) -> Path:
    return folder / f".{remote.file}.json"


def _state_path(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.json")


def _read_json(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        content = json.loads(path.read_text())
        return content if isinstance(content, dict) else {}
    return {}
