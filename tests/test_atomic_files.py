"""Nothing half-written takes a file's name."""

import pytest

from srlab.atomic_files import atomic_write


def test_the_file_appears_at_the_end_in_a_folder_that_is_made(tmp_path):
    path = tmp_path / "new" / "a.json"
    with atomic_write(path) as partial:
        partial.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_the_older_file_alone(tmp_path, error):
    path = tmp_path / "a.json"
    path.write_text("old")

    def write():
        with atomic_write(path) as partial:
            partial.write_text("half")
            raise error

    with pytest.raises(type(error)):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
