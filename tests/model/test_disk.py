"""A trial write says whether a folder can be written, and leaves nothing there."""

import errno
from pathlib import Path

import pytest

from almenara.model.disk import trial_write
from small_disk import fill, free, small_disk


def test_a_folder_that_can_be_written_is_left_as_it_was(tmp_path: Path) -> None:
    trial_write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        trial_write(tmp_path / "away")


def test_a_disk_with_a_little_room_is_full_and_no_trial_takes_the_rest(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 4) as disk:
        fill(disk, 0.5)
        with pytest.raises(OSError, match="No space left") as caught:
            trial_write(disk)
        assert caught.value.errno == errno.ENOSPC
        assert [path.name for path in disk.iterdir()] == ["ballast"]
        free(disk)
        trial_write(disk)
