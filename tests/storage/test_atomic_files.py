"""Writing files on Windows, on network drives, and on a disk that is full."""

import errno
import os
import pathlib
import shutil
import sys

import numpy as np
import pytest

from trpo_jax.storage.atomic_files import claimed, flush, open_file, write_whole
from trpo_jax.storage.checkpoint import restore, save


@pytest.fixture
def windows(monkeypatch):
    """What Windows lacks: `fcntl`, flags, directories that open, readers that flush.

    In exchange it writes two characters at the end of each line of a text.
    """
    usual_open, usual_fsync, readers = os.open, os.fsync, set()

    def open_as_there(path, flags, *args, **kwargs):
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        descriptor = usual_open(path, flags, *args, **kwargs)
        reading = flags & (os.O_WRONLY | os.O_RDWR) == 0
        (readers.add if reading else readers.discard)(descriptor)
        return descriptor

    def fsync_as_there(descriptor):
        if descriptor in readers:
            raise OSError(errno.EBADF, "Bad file descriptor")
        usual_fsync(descriptor)

    def write_text_as_there(self, data, encoding=None, errors=None, newline=None):
        content = data.replace("\n", "\r\n" if newline is None else newline)
        self.write_bytes(content.encode(encoding or "cp1252"))

    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setattr(os, "open", open_as_there)
    monkeypatch.setattr(os, "fsync", fsync_as_there)
    monkeypatch.setattr(pathlib.Path, "write_text", write_text_as_there)
    monkeypatch.setattr(shutil, "_use_fd_functions", False)  # it removes by path
    for name in ("O_NONBLOCK", "O_NOFOLLOW"):
        monkeypatch.delattr(os, name)


@pytest.mark.usefixtures("windows")
def test_windows_writes_whole_files(tmp_path):
    path = tmp_path / "config.json"
    for content in ('{"δ": 1}\n', b"\r\n\x00"):
        write_whole(path, content)
        expected = content if isinstance(content, bytes) else content.encode()
        assert path.read_bytes() == expected
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.usefixtures("windows")
def test_windows_writes_checkpoints_that_it_can_read(tmp_path):
    with claimed(tmp_path):
        for step in (1, 2):
            save(tmp_path, {"w": np.arange(3.0) * step}, step=step, keep=1)
    restored = restore(tmp_path, {"w": np.zeros(3)})
    assert (restored.step, restored.skipped) == (2, ())
    np.testing.assert_array_equal(restored.tree["w"], [0, 2, 4])


@pytest.mark.usefixtures("windows")
def test_windows_refuses_links_without_a_flag_for_that(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    open_file(tmp_path / "link").close()
    for name, refused in (("file", False), ("link", True)):
        try:
            open_file(tmp_path / name, links=False).close()
        except OSError as error:
            assert refused
            assert error.errno == errno.ELOOP
        else:
            assert not refused


def failing_fsync(number, monkeypatch):
    def fsync(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EBADF, errno.ENOTSUP])
def test_a_file_system_that_flushes_no_directories_is_no_failure(
    number, tmp_path, monkeypatch
):
    (tmp_path / "file").touch()
    failing_fsync(number, monkeypatch)
    flush(tmp_path)
    with pytest.raises(OSError, match=os.strerror(number)):
        flush(tmp_path / "file")


def test_a_directory_that_could_not_be_flushed_is_a_failure(tmp_path, monkeypatch):
    failing_fsync(errno.EIO, monkeypatch)
    with pytest.raises(OSError, match="Input/output error"):
        flush(tmp_path)


@pytest.mark.parametrize("where", ["write_bytes", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_names_it(where, tmp_path, monkeypatch):
    path = tmp_path / "evaluation.json"
    write_whole(path, "old")

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    owner = pathlib.Path if where == "write_bytes" else os
    monkeypatch.setattr(owner, where, full)
    with pytest.raises(OSError, match=r"No space left.*evaluation\.json") as raised:
        write_whole(path, "new")
    assert raised.value.errno == errno.ENOSPC
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
