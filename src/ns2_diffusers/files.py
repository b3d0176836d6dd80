"""Files and folders that are there whole or not at all: written beside their place, flushed, then renamed.

A partial file has a random name in the folder of its target and is created exclusively. A link that somebody planted
is therefore never written through, a file of the user's is never overwritten, and two processes that write the same
target never write the same file: the last rename wins.
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
    """Write a file whole or not at all.

        with whole_file("voice.safetensors") as partial:
            save_file(tensors, partial)

    The body writes to `partial`, which has the suffix of `path`. When the body ends, the file is flushed to the disk
    and takes the name `path`. When the body raises, the partial file is removed and what was at `path` stays.

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
        # Some writers put a file of their own, with the owner's permissions alone, in the place of this one.
        os.chmod(partial, mode)
        _flush(partial)
        os.replace(partial, path)
        _flush_folder(path.parent)


def check_writable(path: str | os.PathLike) -> None:
    """Raise what `whole_file` would raise for `path` before it is given anything to write; leaves nothing behind.

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
    """Write a folder whole or not at all; the body fills the empty folder that it is given.

    Permissions are those of the process's umask; a folder that is replaced keeps its own.

    Args:
        path: path of the folder; its parent must exist.
        replace: put it in the place of a folder that exists, which is removed after the new one is whole.

    Raises:
        FileExistsError: there is something at `path` and `replace` is False.
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
    """Write files and folders into `directory`, each of which is whole or not there.

    The body fills an empty folder. Its parts then replace those of the same name in `directory`, one after the other;
    what else is in `directory` stays. Missing folders are made.

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
    """`whole_file` for text, in UTF-8."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def partial_name(name: str) -> str:
    """A hidden random name for what will be called `name`, with its suffix; `remove_partial` knows it."""
    stem, suffix = os.path.splitext(name)
    # A name has at most 255 bytes, a character of it up to four.
    return f".{stem[:32]}.partial-{secrets.token_hex(8)}{suffix[:16]}"


def remove_partial(directory: str | os.PathLike) -> None:
    """Remove the partial files and folders in `directory` that killed processes have left.

    Nobody may be writing to `directory` meanwhile.
    """
    directory = Path(directory)
    for path in list(directory.iterdir()) if directory.is_dir() else []:
        if PARTIAL.fullmatch(path.name):
            _remove(path)


def remove_unfinished() -> None:
    """Remove the partial files and folders that this process is writing, which is about to end."""
    for path in list(_unfinished):
        _remove(path)


def _partial_path(path: Path) -> Path:
    return path.with_name(partial_name(path.name))


@contextmanager
def _new_partial_file(path: Path) -> Iterator[tuple[Path, int]]:
    """An empty partial file for `path` and the permissions that it shall end with; removed in the end."""
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
    """The permissions of the file at `path`; None if there is none, or a link, whose target is not replaced."""
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder: name a file.")
    # Renaming something over /dev/stdout or a pipe would replace it for everybody.
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
    """Give the files in a folder its permissions, and flush them all to the disk."""
    mode = stat.S_IMODE(folder.stat().st_mode)
    for parent, _, names in os.walk(folder):
        for name in names:
            file = Path(parent, name)
            if not file.is_symlink():
                os.chmod(file, mode & 0o666)
                _flush(file)
        _flush_folder(Path(parent))


def _put_in_place(partial: Path, path: Path) -> None:
    """Rename `partial` to `path`, with the permissions of what was there.

    A folder that was there is moved aside first and removed last.
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
    """Flush a folder's names to the disk, where the operating system and the file system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def explained(path: str | os.PathLike, partial: Path | None = None) -> Iterator[None]:
    """Turn an error of the operating system into one with `path`, which is written, and the reason.

    Where `path` is a folder it is written into directly, so that errors about any of its files are of interest.

    Writers in other languages (safetensors, libsndfile) raise errors of their own without a number: the disk is asked
    whether it takes more.
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
    """Whether an error is about the partial file; errors of `write` name no file, those about other files do."""
    names = [name for name in (error.filename, error.filename2) if name is not None]
    return partial is None or not names or any(str(name).startswith(str(partial)) for name in names)


def _error(path: Path, error: OSError) -> OSError:
    reason = REASONS.get(error.errno or 0, error.strerror)
    if error.errno == errno.ENOENT and not path.parent.is_dir():
        reason = f"there is no folder {str(path.parent)!r}, make it first"
    # The class by number: PermissionError, FileNotFoundError and so on.
    explained = type(OSError(error.errno, ""))(f"{str(path)!r} could not be written: {reason}.")
    explained.errno = error.errno
    return explained


def _refusal(partial: Path) -> OSError | None:
    """The error of the disk when more is written to a partial file, or into a partial folder."""
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
