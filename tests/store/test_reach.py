"""Which processes see the locks of a root: told from the kernel's list of mounts, and by trying."""

import fcntl
import os
from pathlib import Path

import pytest

from art.store.locks import has_locks
from art.store.reach import Reach, file_system_of, lock_reach

MOUNTS = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:44 / /mnt/shared rw,relatime shared:2 - nfs4 server:/export rw,vers=4.2,local_lock=none
31 22 0:45 / /mnt/shared/fast rw - tmpfs tmpfs rw
32 22 0:46 / /mnt/my\040disk rw - fuse.sshfs me@there: rw
33 22 0:47 / /mnt/twice rw - ext4 /dev/sdb rw
34 22 0:48 / /mnt/twice rw - cifs //there/share rw
a line of another kind
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/me/.art", "ext4"),
        ("/mnt/shared/.art", "nfs4"),
        ("/mnt/shared", "nfs4"),
        ("/mnt/shared2/.art", "ext4"),
        ("/mnt/shared/fast/.art", "tmpfs"),
        ("/mnt/my disk/.art", "fuse.sshfs"),
        ("/mnt/twice/.art", "cifs"),
    ],
)
def test_a_path_lies_on_the_deepest_mount_and_the_last_one(path: str, kind: str):
    assert file_system_of(Path(path), MOUNTS) == kind


def test_an_empty_list_of_mounts_says_nothing():
    assert file_system_of(Path("/home"), "") == ""


def test_the_locks_of_a_local_disk_reach_everybody(tmp_path: Path):
    assert lock_reach(tmp_path) is lock_reach(tmp_path / "not/there/yet")
    assert lock_reach(tmp_path) is Reach.EVERYBODY


def test_a_folder_that_somebody_holds_has_locks(tmp_path: Path):
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)

    assert has_locks(tmp_path)
    os.close(handle)
