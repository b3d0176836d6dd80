"""Writes files and folders completely or not at all: to a partial file, which is flushed and then renamed.

A partial file has a random name in the folder of its target and is created exclusively. So a planted link is never
followed, a file of the user is never overwritten, and two processes with the same target never write to the same file:
the last rename wins.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PARTIAL = re.compile(r"\..*\.partial-[0-9a-f]{16}(\.[^.]*)?")
PROBE_BYTES = 1 << 20
# Partial files and folders of this process, for `remove_unfinished`.
_unfinished: set[Path] = set()
REASONS = {
    errno.ENOSPC: "there is no space left on the disk",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "it is larger than the file system or a limit of the process allows",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission is denied",
    errno.EPERM: "permission is denied",
    errno.ENAMETOOLONG: "the name is too long",
    errno.EIO: "the disk reports an input/output error",
}


@contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[Path]:
    """Write a file completely or not at all.

        with whole_file("voice.safetensors") as partial:
            save_file(tensors, partial)

    The body writes to `partial`, which has the suffix of `path`. When the body ends, the file is flushed to the disk
    and takes the name `path`. When the body raises, the partial file is removed, and a file at `path` is kept.

    An existing file is replaced and its permissions are kept; a new file gets those of the process's umask. A symbolic
    link at `path` is replaced, not followed.

    Raises:
        OSError: the file cannot be written; the message has `path` and the reason. The subclass is the one of the
            reason, such as `PermissionError`.
        OSError: `path` is a folder or a device (`IsADirectoryError` for a folder).
    """
    path = Path(path)
    with _new_partial_file(path) as (partial, mode), explained(path, partial):
        yield partial
        # Some writers replace this file by one of their own, which only its owner can read.
        os.chmod(partial, mode)
        _flush(partial)
        os.replace(partial, path)
        _flush_folder(path.parent)


def check_writable(path: str | os.PathLike) -> None:
    """Raise the error that `whole_file` would raise for `path`, without writing anything.

    Raises:
        OSError: as `whole_file`.
        ValueError: `path` has a NUL in it, which no file name can have.
    """
    if "\0" in os.fspath(path):
        raise ValueError(f"the file name {os.fspath(path)!r} has a NUL character in it: name another file.")
    with _new_partial_file(Path(path)):
        pass


@contextmanager
def whole_folder(path: str | os.PathLike, replace: bool = False) -> Iterator[Path]:
    """Write a folder completely or not at all; the body fills an empty folder.

    Permissions are those of the process's umask; a replaced folder keeps its own.

    Args:
        path: path of the folder; its parent must exist.
        replace: replace an existing folder, which is removed once the new one is complete.

    Raises:
        FileExistsError: `path` exists and `replace` is False.
        OSError: the folder cannot be written; the message has `path` and the reason.
    """
    path = Path(path)
    if os.path.lexists(path) and not replace:
        raise FileExistsError(f"there is already something at {str(path)!r}: name another folder, or remove it first.")
    with _partial_folder(path) as partial:
        yield partial
        _finish_folder(partial)
        _put_in_place(partial, path)


@contextmanager
def whole_parts(directory: str | os.PathLike) -> Iterator[Path]:
    """Write files and folders into `directory`, each completely or not at all.

    The body fills an empty folder. Its parts then replace those with the same names in `directory`, one after another;
    other files in `directory` are kept. Missing folders are created.

    Raises:
        OSError: the parts cannot be written; the message has `directory` and the reason.
    """
    directory = Path(directory)
    with explained(directory):
        directory.mkdir(parents=True, exist_ok=True)
    with _partial_folder(directory / directory.name) as partial:
        yield partial
        _finish_folder(partial)
        for part in sorted(partial.iterdir()):
            _put_in_place(part, directory / part.name)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a text file in UTF-8 completely or not at all."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def partial_name(name: str) -> str:
    """A random hidden name with the suffix of `name`, which `remove_partial` recognises."""
    stem, suffix = os.path.splitext(name)
    # A name has at most 255 bytes, and a character up to four.
    return f".{stem[:32]}.partial-{secrets.token_hex(8)}{suffix[:16]}"


def remove_partial(directory: str | os.PathLike) -> None:
    """Remove the partial files and folders of killed processes from `directory`.

    No other process may write to `directory` at that time.
    """
    directory = Path(directory)
    for path in list(directory.iterdir()) if directory.is_dir() else []:
        if PARTIAL.fullmatch(path.name):
            _remove(path)


def remove_unfinished() -> None:
    """Remove the partial files and folders of this process, before it ends."""
    for path in list(_unfinished):
        _remove(path)


def _partial_path(path: Path) -> Path:
    return path.with_name(partial_name(path.name))


@contextmanager
def _new_partial_file(path: Path) -> Iterator[tuple[Path, int]]:
    """An empty partial file for `path`, and the permissions for the finished file; it is removed at the end."""
    with explained(path):
        mode = _mode_to_keep(path)
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0)
    with _new(path, lambda partial: os.close(os.open(partial, flags, 0o666 if mode is None else mode))) as partial:
        yield partial, stat.S_IMODE(partial.stat().st_mode) if mode is None else mode


@contextmanager
def _new(path: Path, create: Callable[[Path], None]) -> Iterator[Path]:
    """The temporary file or folder for `path` that `create` makes; it is removed at the end."""
    partial = _partial_path(path)
    _unfinished.add(partial)
    try:
        with explained(path):
            create(partial)
        try:
            yield partial
        finally:
            _remove(partial)
    finally:
        _unfinished.discard(partial)


def _mode_to_keep(path: Path) -> int | None:
    """The permissions of the file at `path`; None if there is none, or if it is a link."""
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder: name a file.")
    # A rename over /dev/stdout or a pipe would replace it for all programs.
    if path.exists() and not path.is_file():
        raise OSError(f"{str(path)!r} is a device or a pipe, which cannot be replaced: name a file.")
    if path.is_symlink() or not path.exists():
        return None
    if not os.access(path, os.W_OK):
        raise PermissionError(f"{str(path)!r} is there already and read-only: name another file, or make it writable.")
    return stat.S_IMODE(path.stat().st_mode) & 0o777


@contextmanager
def _partial_folder(path: Path) -> Iterator[Path]:
    with _new(path, os.mkdir) as partial, explained(path, partial):
        yield partial


def _finish_folder(folder: Path) -> None:
    """Give the files in a folder the permissions of the folder, and flush them to the disk."""
    mode = stat.S_IMODE(folder.stat().st_mode)
    for parent, _, names in os.walk(folder):
        for name in names:
            file = Path(parent, name)
            if not file.is_symlink():
                os.chmod(file, mode & 0o666)
                _flush(file)
        _flush_folder(Path(parent))


def _put_in_place(partial: Path, path: Path) -> None:
    """Rename `partial` to `path`, and keep the permissions of an existing file or folder.

    An existing folder is moved aside first and removed last.
    """
    if path.exists() and not path.is_symlink():
        os.chmod(partial, stat.S_IMODE(path.stat().st_mode) & 0o777)
    old = _partial_path(path) if path.is_dir() and not path.is_symlink() else None
    if old:
        os.replace(path, old)
    try:
        os.replace(partial, path)
    except BaseException:
        if old:
            os.replace(old, path)
        raise
    _flush_folder(path.parent)
    if old:
        shutil.rmtree(old)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, if the operating system and the file system support it."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def explained(path: str | os.PathLike, partial: Path | None = None) -> Iterator[None]:
    """Convert an error of the operating system to one with the target `path` and the reason.

    A folder `path` is written into directly, so errors about any of its files are converted.

    Writers in other languages (safetensors, libsndfile) raise errors without a number; a trial write then finds the
    reason.
    """
    path = Path(path)
    try:
        yield
    except OSError as error:
        if error.errno is None or not _concerns(error, partial):
            raise
        raise _error(path, error) from error
    except Exception as error:
        partial = partial or (path if path.is_dir() else None)
        refusal = _refusal(partial) if partial else None
        if refusal is None:
            raise
        raise _error(path, refusal) from error


def _concerns(error: OSError, partial: Path | None) -> bool:
    """Whether an error is about the partial file. Errors of `write` have no file name; those of other files have."""
    names = [name for name in (error.filename, error.filename2) if name is not None]
    return partial is None or not names or any(str(name).startswith(str(partial)) for name in names)


def _error(path: Path, error: OSError) -> OSError:
    reason = REASONS.get(error.errno or 0, error.strerror)
    if error.errno == errno.ENOENT and not path.parent.is_dir():
        reason = f"there is no folder {str(path.parent)!r}, make it first"
    # The error number determines the class: PermissionError, FileNotFoundError and so on.
    explained = type(OSError(error.errno, ""))(f"{str(path)!r} could not be written: {reason}.")
    explained.errno = error.errno
    return explained


def _refusal(partial: Path) -> OSError | None:
    """The error of a trial write to a partial file, or into a partial folder; None if it succeeds."""
    folder = partial.is_dir()
    probe = partial / partial_name("probe") if folder else partial
    try:
        with open(probe, "ab") as file:
            file.write(bytes(PROBE_BYTES))
            os.fsync(file.fileno())
    except OSError as error:
        return error
    finally:
        if folder:
            probe.unlink(missing_ok=True)
    return None
