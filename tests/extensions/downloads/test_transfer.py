import hashlib
import multiprocessing
import shutil
from collections import namedtuple

import numpy as np
import pytest

from file_server import Served
from srlab.extensions.downloads import transfer
from srlab.extensions.downloads.catalogue import RemoteFile
from srlab.extensions.downloads.transfer import CHUNK, BrokenTransferError, fetch, partial_path, read_record

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def remote(server, path="/file.bin", **changes) -> RemoteFile:
    values = {"size": len(CONTENT), "digest": f"sha256:{SHA256}", "url": f"{server.url}{path}"} | changes
    words = dict.fromkeys(("what", "made_by", "terms", "source", "checked"), "a test")
    return RemoteFile(name="file", file="file.bin", licence=None, **words, **values)


def nothing(*_values):
    """Shows no progress."""


def download(remote, folder, **options):
    waits = []
    return fetch(remote, folder, report=nothing, pause=waits.append, **options), waits


def test_a_file_arrives_and_a_second_call_asks_nothing(server, tmp_path):
    server.files["/file.bin"] = Served(CONTENT)
    for _ in range(2):
        path, _ = download(remote(server), tmp_path)
        assert path.read_bytes() == CONTENT
    assert len(server.requests) == 1
    assert not list(tmp_path.glob("*.partial*"))


def test_a_broken_connection_is_resumed_at_its_byte(server, tmp_path):
    server.files["/file.bin"] = Served(CONTENT, cuts=[100_000, 200_000])
    path, waits = download(remote(server), tmp_path)
    assert path.read_bytes() == CONTENT
    starts = [100_000 // CHUNK * CHUNK, 200_000 // CHUNK * CHUNK]
    assert [asked for _, asked in server.requests] == [None, *(f"bytes={start}-" for start in starts)]
    assert waits == [1.0, 1.0]  # each connection brought something


def test_a_later_process_resumes_what_an_earlier_one_left(server, tmp_path):
    server.files["/file.bin"] = Served(CONTENT, cuts=[100_000, *[0] * 9])
    with pytest.raises(BrokenTransferError, match="the same command resumes"):
        download(remote(server), tmp_path)
    arrived = partial_path(remote(server), tmp_path).stat().st_size
    assert 100_000 - CHUNK < arrived <= 100_000
    server.files["/file.bin"].cuts.clear()
    download(remote(server), tmp_path)
    assert server.requests[-1][1] == f"bytes={arrived}-"


def test_a_file_that_changed_on_the_server_starts_over(server, tmp_path):
    server.files["/file.bin"] = Served(bytes(300_000), cuts=[100_000, *[0] * 9])
    with pytest.raises(BrokenTransferError):
        download(remote(server), tmp_path)
    server.files["/file.bin"] = Served(CONTENT, etag='"v2"')
    path, _ = download(remote(server), tmp_path)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("without", [{"ranges": False}, {"etag": None}, {"etag": 'W/"weak"'}])
def test_a_server_that_cannot_resume_sends_everything_again(server, tmp_path, without):
    server.files["/file.bin"] = Served(CONTENT, cuts=[250_000, 100_000], **without)
    path, _ = download(remote(server), tmp_path)
    assert path.read_bytes() == CONTENT


def test_a_server_that_never_gets_farther_is_given_up(server, tmp_path):
    server.files["/file.bin"] = Served(CONTENT, cuts=[90_000, 50_000] * 20, ranges=False)
    with pytest.raises(BrokenTransferError, match="6 times in a row"):
        download(remote(server), tmp_path)


def test_waits_grow_while_nothing_arrives(server, tmp_path):
    server.files["/file.bin"] = Served(CONTENT, statuses=[503, 429, 500])
    path, waits = download(remote(server), tmp_path)
    assert path.read_bytes() == CONTENT
    assert waits == [1.0, 2.0, 4.0]


def test_a_server_that_does_not_answer_is_given_up(server, tmp_path):
    unreachable = remote(server, url="http://127.0.0.1:9/file.bin")
    with pytest.raises(BrokenTransferError, match="6 times in a row"):
        download(unreachable, tmp_path)


def test_redirects_are_followed(server, tmp_path):
    server.files |= {"/old": Served(location=f"{server.url}/file.bin"), "/file.bin": Served(CONTENT)}
    assert download(remote(server, "/old"), tmp_path)[0].read_bytes() == CONTENT


def test_404_is_final_and_names_where_the_address_was_stated(server, tmp_path):
    with pytest.raises(ValueError, match=r"answered 404 .* stated by a test"):
        download(remote(server), tmp_path)
    assert len(server.requests) == 1


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_other_bytes_are_refused_and_deleted(server, tmp_path, kind):
    server.files["/file.bin"] = Served(bytes(300_000))
    digest = f"{kind}:{hashlib.new(kind, CONTENT).hexdigest()}"
    with pytest.raises(ValueError, match=rf"{kind} [0-9a-f]+, expected [0-9a-f]+; they were deleted"):
        download(remote(server, digest=digest), tmp_path)
    assert not list(tmp_path.glob("*file.bin")) + list(tmp_path.glob("*.partial"))


def test_a_file_of_another_size_is_refused_before_it_is_downloaded(server, tmp_path):
    server.files["/file.bin"] = Served(CONTENT[:-1])
    with pytest.raises(ValueError, match="offers 299999 bytes, expected 300000"):
        download(remote(server), tmp_path)


def test_a_truncated_file_without_a_length_is_found_by_its_checksum(server, tmp_path):
    server.files["/file.bin"] = Served(CONTENT, cuts=[100_000], length=False)
    with pytest.raises(ValueError, match="sent 100000 bytes"):
        download(remote(server), tmp_path)


def test_an_unknown_checksum_is_said_recorded_and_compared_the_next_time(server, tmp_path, caplog):
    server.files["/file.bin"] = Served(CONTENT)
    unknown = remote(server, digest=None, size=None)
    path, _ = download(unknown, tmp_path)
    assert f"its sha256 {SHA256} is recorded" in caplog.text
    assert read_record(unknown, tmp_path)["sha256"] == SHA256
    path.unlink()
    server.files["/file.bin"] = Served(CONTENT[::-1])
    with pytest.raises(ValueError, match=f"expected {SHA256}"):
        download(unknown, tmp_path)


def test_a_disk_without_room_is_refused_before_anything_is_written(server, tmp_path, monkeypatch):
    server.files["/file.bin"] = Served(CONTENT)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10**6, 10**6 - 1000, 1000))
    with pytest.raises(OSError, match=r"needs 0 MiB more.*srlab download --clear.*SRLAB_CACHE"):
        download(remote(server), tmp_path)
    assert not partial_path(remote(server), tmp_path).exists()


def test_offline_refuses_unless_the_file_is_there(server, tmp_path, monkeypatch):
    server.files["/file.bin"] = Served(CONTENT)
    monkeypatch.setenv("SRLAB_OFFLINE", "1")
    with pytest.raises(ValueError, match="SRLAB_OFFLINE is set"):
        download(remote(server), tmp_path)
    assert not server.requests
    monkeypatch.setenv("SRLAB_OFFLINE", "0")
    download(remote(server), tmp_path)
    monkeypatch.setenv("SRLAB_OFFLINE", "1")
    assert download(remote(server), tmp_path)[0].read_bytes() == CONTENT


def test_two_processes_download_a_file_once(server, tmp_path):
    server.files["/file.bin"] = Served(CONTENT, statuses=[503])  # the first waits a second, with the lock
    context = multiprocessing.get_context("fork")
    keys = {"report": nothing}
    workers = [context.Process(target=fetch, args=(remote(server), tmp_path), kwargs=keys) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert len(server.requests) == 2  # the refused one, and the one that was served


def test_a_process_that_ended_before_the_last_step_downloads_nothing_again(server, tmp_path, monkeypatch):
    server.files["/file.bin"] = Served(CONTENT)

    def ends(*_arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(transfer, "_checked", ends)
        with pytest.raises(KeyboardInterrupt):
            download(remote(server), tmp_path)
    assert download(remote(server), tmp_path)[0].read_bytes() == CONTENT
    assert len(server.requests) == 1
