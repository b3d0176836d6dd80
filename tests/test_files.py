"""Files and folders are written completely or not at all; those of others are kept; errors state the reason."""

import errno
import os
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from ns2_diffusers import files
from ns2_diffusers.commands.generate import write_audio
from ns2_diffusers.files import (
    check_writable,
    partial_name,
    remove_partial,
    whole_file,
    whole_folder,
    whole_parts,
    write_text,
)
from ns2_diffusers.pipelines.voice import Voice

posix = pytest.mark.skipif(os.name != "posix", reason="permissions and limits of POSIX")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def umask(value):
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


def fill(folder, content="new"):
    (folder / "config.json").write_text(content)
    (folder / "part").mkdir()
    (folder / "part" / "weights").write_text(content)


# -- one file ------------------------------------------------------------------------------------------------


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "out.txt"
    with whole_file(path) as partial:
        partial.write_text("half")
        assert not path.exists() and partial.parent == tmp_path and partial.suffix == ".txt"
        partial.write_text("whole")
    assert path.read_text() == "whole" and names(tmp_path) == ["out.txt"]


@pytest.mark.parametrize("error", [RuntimeError("odd"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "out.txt"
    path.write_text("old")
    with pytest.raises(type(error)), whole_file(path) as partial:
        partial.write_text("half")
        raise error
    assert path.read_text() == "old" and names(tmp_path) == ["out.txt"]


def test_a_planted_link_is_not_written_through(tmp_path, monkeypatch):
    """Neither at the names of earlier versions nor at the very name that is drawn."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "out.txt.partial").symlink_to(victim)
    write_text(tmp_path / "out.txt", "new")
    assert victim.read_text() == "precious" and (tmp_path / "out.txt.partial").is_symlink()
    monkeypatch.setattr(files, "partial_name", lambda name: "guessed")
    (tmp_path / "guessed").symlink_to(victim)
    with pytest.raises(FileExistsError, match="out.txt"):
        write_text(tmp_path / "out.txt", "newer")
    with pytest.raises(FileExistsError, match="folder"), whole_folder(tmp_path / "folder"):
        pass
    assert victim.read_text() == "precious" and (tmp_path / "out.txt").read_text() == "new"
    assert (tmp_path / "guessed").is_symlink()


def test_a_link_at_the_target_is_replaced(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "out.txt").symlink_to(tmp_path / "victim")
    write_text(tmp_path / "out.txt", "new")
    assert (tmp_path / "victim").read_text() == "precious"
    assert (tmp_path / "out.txt").read_text() == "new" and not (tmp_path / "out.txt").is_symlink()


def test_files_of_the_user_with_names_like_ours_stay(tmp_path):
    for name in ("x.partial", ".x", ".x.partial-1", "x.txt.partial", ".saving"):
        (tmp_path / name).write_text(name)
    (tmp_path / "y.partial").mkdir()
    before = names(tmp_path)
    write_text(tmp_path / "x", "new")
    with whole_folder(tmp_path / "y") as folder:
        fill(folder)
    with whole_parts(tmp_path) as folder:
        (folder / "z").touch()
    remove_partial(tmp_path)
    assert names(tmp_path) == sorted([*before, "x", "y", "z"])
    assert (tmp_path / "x.partial").read_text() == "x.partial"


WRITER = """
import sys
from ns2_diffusers.files import whole_file, whole_folder
letter, path, folder = sys.argv[1:]
for _ in range(30):
    with whole_file(path) as partial, open(partial, "w") as file:
        for _ in range(20):
            file.write(letter * 1000)
            file.flush()
"""


def test_two_processes_with_one_output(tmp_path):
    """A concurrent reader finds the file of one writer or of the other, never a mixture."""
    path = tmp_path / "out.txt"
    running = [subprocess.Popen([sys.executable, "-c", WRITER, letter, path, tmp_path / "f"]) for letter in "ab"]
    seen = set()
    while any(process.poll() is None for process in running):
        if path.exists():
            seen.add(path.read_text())
    assert [process.returncode for process in running] == [0, 0]
    assert seen <= {"a" * 20_000, "b" * 20_000} and path.read_text() in seen | {"a" * 20_000, "b" * 20_000}
    assert names(tmp_path) == ["out.txt"]


@posix
def test_permissions(tmp_path):
    latents = Voice(torch.zeros(2, 3), "codec")
    audio = np.zeros(100, dtype=np.float32)
    with umask(0o027):
        latents.save(tmp_path / "voice.safetensors")
        write_audio(audio, 16000, tmp_path / "out.wav")
        with whole_folder(tmp_path / "folder") as folder:
            latents.save(folder / "voice.safetensors")
            (folder / "secret").touch(0o600)
    assert mode(tmp_path / "voice.safetensors") == mode(tmp_path / "out.wav") == 0o640
    assert mode(tmp_path / "folder") == 0o750
    assert mode(tmp_path / "folder" / "voice.safetensors") == mode(tmp_path / "folder" / "secret") == 0o640
    for permissions in (0o600, 0o664):
        for path in (tmp_path / "voice.safetensors", tmp_path / "out.wav"):
            path.chmod(permissions)
        (tmp_path / "folder").chmod(permissions | 0o100)
        latents.save(tmp_path / "voice.safetensors")
        write_audio(audio, 16000, tmp_path / "out.wav")
        with whole_folder(tmp_path / "folder", replace=True) as folder:
            fill(folder)
        assert mode(tmp_path / "voice.safetensors") == mode(tmp_path / "out.wav") == permissions
        assert mode(tmp_path / "folder") == permissions | 0o100


@posix
def test_a_private_file_is_private_while_it_is_written(tmp_path):
    path = tmp_path / "out.txt"
    path.touch(0o600)
    with umask(0), whole_file(path) as partial:
        assert mode(partial) == 0o600


def test_what_was_written_is_flushed_before_it_gets_its_name(tmp_path, monkeypatch):
    done = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: done.append("flush") or sync(fd))
    monkeypatch.setattr(os, "replace", lambda *paths: done.append("rename") or replace(*paths))
    write_text(tmp_path / "out.txt", "text")
    assert done[:2] == ["flush", "rename"]
    done.clear()
    with whole_folder(tmp_path / "folder") as folder:
        fill(folder)
    assert done.index("rename") >= 2


REASONS = {
    errno.ENOSPC: (OSError, "no space left"),
    errno.EDQUOT: (OSError, "quota"),
    errno.EROFS: (OSError, "read-only"),
    errno.EACCES: (PermissionError, "permission is denied"),
}


@pytest.mark.parametrize("number", REASONS)
@pytest.mark.parametrize("where", ["open", "write", "fsync", "replace"])
def test_errors_name_the_path_and_the_reason(tmp_path, monkeypatch, number, where):
    kind, reason = REASONS[number]
    path = tmp_path / "out.txt"
    path.write_text("old")

    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        if where == "write":
            patch.setattr(Path, "write_text", fail)
        else:
            patch.setattr(os, where, fail)
        with pytest.raises(kind, match=f"out.txt' could not be written: .*{reason}") as caught:
            write_text(path, "new")
        assert caught.value.errno == number
    assert path.read_text() == "old" and names(tmp_path) == ["out.txt"]


LIMITED = """
import resource, sys, numpy, torch
from pathlib import Path
from ns2_diffusers.commands.generate import write_audio
from ns2_diffusers.files import whole_folder
from ns2_diffusers.pipelines.voice import Voice
from safetensors.torch import save_file
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
folder = Path(sys.argv[1])
def in_folder():
    with whole_folder(folder / "model") as partial:
        save_file({"a": torch.zeros(100_000)}, partial / "model.safetensors")
for write in (
    lambda: write_audio(numpy.zeros(100_000, dtype="float32"), 16000, folder / "out.wav"),
    lambda: Voice(torch.zeros(100, 1000), "codec").save(folder / "voice.safetensors"),
    in_folder,
):
    try:
        write()
    except OSError as error:
        print(error)
"""


@posix
def test_writers_of_other_languages_say_why_too(tmp_path):
    """libsndfile says "System error", and safetensors raises an error that is no OSError."""
    done = subprocess.run([sys.executable, "-c", LIMITED, tmp_path], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert [name in line for name, line in zip(["out.wav", "voice.safetensors", "model"], lines, strict=True)] == [
        True
    ] * 3
    assert all("could not be written: it is larger than" in line for line in lines)
    assert names(tmp_path) == []


def test_errors_of_the_body_are_not_blamed_on_the_disk(tmp_path):
    with pytest.raises(ValueError, match="^odd$"), whole_file(tmp_path / "out.txt"):
        raise ValueError("odd")
    with pytest.raises(FileNotFoundError, match="source.txt"), whole_file(tmp_path / "out.txt"):
        (tmp_path / "source.txt").read_text()
    with pytest.raises(OSError, match="^my own$"), whole_folder(tmp_path / "out"):
        raise OSError("my own")
    assert names(tmp_path) == []


def test_where_nothing_can_be_written(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder '.*none', make it first"):
        write_text(tmp_path / "none" / "out.txt", "")
    with pytest.raises(IsADirectoryError, match="is a folder: name a file"):
        write_text(tmp_path, "")
    with pytest.raises(OSError, match="the name is too long"):
        write_text(tmp_path / ("ä" * 200 + ".txt"), "")
    assert names(tmp_path) == []


def test_long_names_that_fit_are_written(tmp_path):
    name = "語" * 80 + ".txt"
    write_text(tmp_path / name, "long")
    assert names(tmp_path) == [name]


@posix
def test_devices_and_pipes_are_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path(os.devnull)):
        with pytest.raises(OSError, match="is a device or a pipe"):
            write_text(path, "")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode) and stat.S_ISCHR(os.stat(os.devnull).st_mode)


@posix
def test_a_read_only_file_is_not_replaced(tmp_path, monkeypatch):
    path = tmp_path / "out.txt"
    path.write_text("old")
    path.chmod(0o444)
    monkeypatch.setattr(os, "access", lambda path, how: False)  # root can write everything
    with pytest.raises(PermissionError, match="read-only"):
        write_text(path, "new")
    assert path.read_text() == "old"


# -- folders -------------------------------------------------------------------------------------------------


def test_a_folder_appears_when_it_is_whole(tmp_path):
    with whole_folder(tmp_path / "model") as folder:
        fill(folder)
        assert not (tmp_path / "model").exists()
    assert (tmp_path / "model" / "part" / "weights").read_text() == "new" and names(tmp_path) == ["model"]


def test_a_folder_is_replaced_only_where_that_is_asked_for(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").touch()
    with pytest.raises(FileExistsError, match="already something"), whole_folder(tmp_path / "model"):
        pytest.fail("the work was begun")
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "model", replace=True) as folder:
        fill(folder)
        raise RuntimeError
    assert names(tmp_path / "model") == ["old"]
    with whole_folder(tmp_path / "model", replace=True) as folder:
        fill(folder)
    assert names(tmp_path / "model") == ["config.json", "part"] and names(tmp_path) == ["model"]


def test_a_folder_that_cannot_be_renamed_leaves_the_old(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").touch()
    replace = os.replace

    def fail(old, new):
        if Path(new).name == "model" and not (Path(old) / "old").exists():
            raise OSError(errno.ENOSPC, "full")
        replace(old, new)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space left"), whole_folder(tmp_path / "model", replace=True) as folder:
        fill(folder)
    assert names(tmp_path / "model") == ["old"] and names(tmp_path) == ["model"]


def test_parts_replace_their_own_and_no_others(tmp_path):
    output = tmp_path / "new" / "output"
    for content in ("1", "2"):
        with whole_parts(output) as folder:
            fill(folder, content)
        (output / "checkpoint-00000001").mkdir(exist_ok=True)
        (output / "part" / "stale").touch()
    with whole_parts(output) as folder:
        fill(folder, "3")
    assert (output / "config.json").read_text() == (output / "part" / "weights").read_text() == "3"
    assert names(output) == ["checkpoint-00000001", "config.json", "part"] and names(output / "part") == ["weights"]


def test_parts_that_fail_midway_leave_the_old(tmp_path):
    with whole_parts(tmp_path) as folder:
        fill(folder, "1")
    with pytest.raises(OSError, match="no space left"), whole_parts(tmp_path) as folder:
        (folder / "config.json").write_text("{")
        raise OSError(errno.ENOSPC, "full")
    assert (tmp_path / "config.json").read_text() == "1" and names(tmp_path) == ["config.json", "part"]


def test_what_killed_processes_have_left_is_known_by_its_name(tmp_path):
    (tmp_path / partial_name("out.wav")).touch()
    (tmp_path / partial_name("語" * 80)).mkdir()
    (tmp_path / partial_name(".hidden")).symlink_to(tmp_path)
    (tmp_path / "out.wav").touch()
    remove_partial(tmp_path)
    remove_partial(tmp_path / "none")
    assert names(tmp_path) == ["out.wav"]


def test_whether_a_file_can_be_written_is_found_out_beforehand(tmp_path):
    target = tmp_path / "out.wav"
    check_writable(target)
    assert names(tmp_path) == []
    target.write_text("precious")
    check_writable(target)
    assert names(tmp_path) == ["out.wav"] and target.read_text() == "precious"
    for path, error, message in (
        (tmp_path, IsADirectoryError, "is a folder"),
        (tmp_path / "no" / "out.wav", FileNotFoundError, "there is no folder"),
        (target / "out.wav", NotADirectoryError, "out.wav"),
        (tmp_path / ("x" * 300), OSError, "the name is too long"),
        (tmp_path / "a\0b", ValueError, "NUL"),
    ):
        with pytest.raises(error, match=message):
            check_writable(path)
    assert names(tmp_path) == ["out.wav"]


def test_what_a_process_was_writing_is_removed_when_it_ends(tmp_path):
    mine = tmp_path / ".out.partial-0123456789abcdef.wav"
    mine.write_text("of somebody else")
    with whole_file(tmp_path / "file") as file, whole_folder(tmp_path / "folder") as folder:
        file.write_text("half")
        (folder / "part").write_text("half")
        files.remove_unfinished()
        assert names(tmp_path) == [mine.name]
        folder.mkdir()
        file.write_text("whole")
    files.remove_unfinished()
    assert (tmp_path / "file").read_text() == "whole"
