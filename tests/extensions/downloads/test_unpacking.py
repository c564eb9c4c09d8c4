import io
import tarfile
import zipfile

import pytest

from srlab.extensions.downloads.unpacking import unpack


def zip_of(path, entries, *, mode=0):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, content)
    return path


def tar_of(path, entries, *, kind=tarfile.REGTYPE):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in entries.items():
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = kind, len(content), "/etc/passwd"
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_chosen_folders_are_unpacked_and_nothing_else(tmp_path, make):
    entries = {"top/HR/1.png": b"one", "./top/HR/sub/2.png": b"two", "top/LR/1.png": b"three"}
    new = unpack(make(tmp_path / "archive", entries), {"top/HR": "Set/HR"}, tmp_path / "data")
    assert new == [tmp_path / "data" / "Set" / "HR"]
    files = {str(path.relative_to(tmp_path / "data")) for path in (tmp_path / "data").rglob("*.png")}
    assert files == {"Set/HR/1.png", "Set/HR/sub/2.png"}
    assert (new[0] / "sub/2.png").read_bytes() == b"two"
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["Set"]


@pytest.mark.parametrize("make", [zip_of, tar_of])
@pytest.mark.parametrize("name", ["../out.png", "top/../../out.png", "/tmp/out.png", "a\\..\\x.png", "C:/x"])
def test_an_archive_with_an_entry_outside_is_refused_as_a_whole(tmp_path, make, name):
    archive = make(tmp_path / "archive", {"top/1.png": b"one", name: b"out"})
    with pytest.raises(ValueError, match="lies outside of the archive"):
        unpack(archive, {"top": "top"}, tmp_path / "data")
    assert not (tmp_path / "data").exists()
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    with pytest.raises(ValueError, match=r"1\.png is a link or device"):
        unpack(tar_of(tmp_path / "archive", {"top/1.png": b""}, kind=kind), {"top": "top"}, tmp_path / "data")


def test_links_in_a_zip_are_refused(tmp_path):
    archive = zip_of(tmp_path / "archive", {"top/1.png": b"/etc/passwd"}, mode=0o120777)
    with pytest.raises(ValueError, match="is a link or device"):
        unpack(archive, {"top": "top"}, tmp_path / "data")


def test_folders_that_exist_stay_as_they_are(tmp_path):
    mine = tmp_path / "data" / "A"
    mine.mkdir(parents=True)
    archive = zip_of(tmp_path / "archive", {"A/1.png": b"theirs", "B/1.png": b"theirs"})
    assert unpack(archive, {"A": "A", "B": "B"}, tmp_path / "data") == [tmp_path / "data" / "B"]
    assert not list(mine.iterdir())


@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_a_damaged_archive_leaves_nothing(tmp_path, make):
    archive = make(tmp_path / "archive", {f"top/{number}.png": bytes(range(256)) * 99 for number in range(9)})
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(ValueError, match="is damaged"):
        unpack(archive, {"top": "top"}, tmp_path / "data")
    assert not (tmp_path / "data" / "top").exists()


def test_an_archive_without_the_expected_folder_says_so(tmp_path):
    with pytest.raises(ValueError, match="does not hold HR, as the catalogue says"):
        unpack(zip_of(tmp_path / "archive", {"other/1.png": b""}), {"HR": "HR"}, tmp_path / "data")
