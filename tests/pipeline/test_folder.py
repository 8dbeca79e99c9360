"""A data folder has one owner and says its format."""

from __future__ import annotations

from pathlib import Path

import pytest

from almenara.model.errors import FolderError
from almenara.pipeline.folder import DataFolder
from small_disk import fill, free, small_disk


def test_two_hubs_never_share_a_folder(tmp_path: Path) -> None:
    first = DataFolder(tmp_path / "data")
    with pytest.raises(FolderError, match="in use by another hub"):
        DataFolder(tmp_path / "data")
    first.close()
    DataFolder(tmp_path / "data").close()


def test_a_newer_format_is_refused_in_one_line(tmp_path: Path) -> None:
    DataFolder(tmp_path).close()
    (tmp_path / "format").write_text("99\n")
    with pytest.raises(FolderError, match="made by a newer version") as error:
        DataFolder(tmp_path)
    assert "\n" not in str(error.value)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(FolderError, match="is not empty"):
        DataFolder(tmp_path)


def test_a_start_that_died_at_once_does_not_spoil_the_folder(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    (tmp_path / "format.new").write_text("")
    DataFolder(tmp_path).close()


def test_a_folder_without_room_is_said_in_one_line_and_let_go(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 4) as disk:
        DataFolder(disk / "data").close()
        fill(disk)
        for folder in ("data", "another"):
            with pytest.raises(FolderError, match=f"{folder}: cannot be .*: No space left on device"):
                DataFolder(disk / folder)
        free(disk)
        DataFolder(disk / "data").close()
        DataFolder(disk / "another").close()
