"""A file system of its own for a test, to be full or read-only at will."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


class SmallDisk:
    """A tmpfs that is mounted on a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def mount(self, options: str) -> bool:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.folder)]
        return subprocess.run(command, capture_output=True).returncode == 0

    def change(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.folder)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """64 KiB; ``change("size=8m")`` or ``change("ro")`` afterwards."""
    folder = tmp_path / "disk"
    folder.mkdir()
    disk = SmallDisk(folder)
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or not disk.mount("size=64k"):
        pytest.skip("mounts a file system: needs root and the right to mount")
    yield disk
    subprocess.run(["umount", "-l", str(folder)], check=True)
