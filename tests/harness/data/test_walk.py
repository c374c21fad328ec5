"""One walk: hidden files, links, loops, what is neither file nor folder, and a note on each."""

from __future__ import annotations

import os

from harness.data.walk import noting_left_out, walk


def below(folder):
    with noting_left_out() as left_out:
        return [file.relative_to(folder).as_posix() for file in walk(folder)], left_out


def test_hidden_files_are_left_out_and_noted_where_they_look_like_images(tmp_path):
    for name in ("a.png", "._a.png", ".DS_Store", "Thumbs.db", "sub/b.PNG"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for folder in (".ipynb_checkpoints", "__MACOSX"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "c.png").touch()
    names, left_out = below(tmp_path)
    assert names == ["a.png", "sub/b.PNG"]
    assert str(left_out) == "3 hidden (._a.png, .ipynb_checkpoints, ...)"


def test_linked_folders_are_entered_once_and_loops_end(tmp_path):
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "folder"
    for place in (elsewhere, folder / "z"):
        place.mkdir(parents=True)
        (place / "x.png").touch()
    (folder / "linked").symlink_to(elsewhere)
    (folder / "a").symlink_to(folder / "z")  # comes first by its name, but z is the folder's own
    (elsewhere / "loop").symlink_to(folder)
    names, left_out = below(folder)
    assert names == ["linked/x.png", "z/x.png"]
    assert "2 links to folders that are read already" in str(left_out)


def test_what_cannot_be_read_is_listed_unopened(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "gone.png").symlink_to("nowhere")
    (tmp_path / "self.png").symlink_to("self.png")
    assert below(tmp_path)[0] == ["gone.png", "pipe.png", "self.png"]
    assert walk(tmp_path / "absent") == []
