"""Who may do what: access lists, extended attributes, set-id and sticky bits."""

import errno
import mmap
import os
import stat
import struct
import subprocess

from checks.harness import (
    check, fails, fallocate, write, as_user, drop_caches, KEEP_SIZE, PUNCH, USER)


def acl(*entries):
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries)


NONE = 0xffffffff
ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"


@check()
def acls_are_enforced():
    os.chmod(".", 0o755)
    write("f", b"secret", 0o600)
    with open("f") as f:
        def may(uid, mode):
            def attempt():
                os.close(os.open("f", mode))
            try:
                as_user(attempt, uid)
                return True
            except AssertionError as e:
                assert "PermissionError" in str(e), e
                return False
        assert not may(USER, os.O_RDONLY)
        os.setxattr("f", ACCESS, acl((1, 6, NONE), (2, 6, USER), (4, 0, NONE), (16, 4, NONE),
                                     (32, 0, NONE)))
        assert may(USER, os.O_RDONLY)
        assert not may(USER, os.O_RDWR)  # the mask
        assert not may(USER + 1, os.O_RDONLY)
        assert stat.S_IMODE(os.stat("f").st_mode) == 0o640
        os.chmod("f", 0o660)
        assert may(USER, os.O_RDWR)
        with fails(errno.EINVAL):
            os.setxattr("f", ACCESS, acl((1, 6, NONE), (2, 6, USER)))
    # A default list decides what is made.
    os.mkdir("d")
    os.setxattr("d", DEFAULT, acl((1, 7, NONE), (2, 7, USER), (4, 5, NONE), (16, 7, NONE),
                                  (32, 0, NONE)))
    os.umask(0o077)
    write("d/in", mode=0o660)
    os.mkdir("d/sub")
    os.umask(0o022)
    assert os.getxattr("d/sub", DEFAULT) == os.getxattr("d", DEFAULT)
    as_user(lambda: os.listdir("d/sub"))
    with fails(errno.EACCES):
        try:
            as_user(lambda: os.listdir("d/sub"), USER + 1)
        except AssertionError as e:
            assert "PermissionError" in str(e), e
            raise OSError(errno.EACCES, "")


@check()
def xattrs():
    write("f")
    os.symlink("f", "l")
    big = os.urandom(65536)
    for name in ("user.big", "trusted.big", "security.big"):
        os.setxattr("f", name, big)
    drop_caches()
    for name in ("user.big", "trusted.big", "security.big"):
        assert os.getxattr("f", name) == big
    assert set(os.listxattr("f")) == {"user.big", "trusted.big", "security.big"}
    with fails(errno.E2BIG):
        os.setxattr("f", "user.more", big + b"x")
    with fails(errno.EPERM):
        os.setxattr("l", "user.no", b"", follow_symlinks=False)
    os.setxattr("l", "trusted.yes", b"1", follow_symlinks=False)
    assert os.listxattr("l", follow_symlinks=False) == ["trusted.yes"]
    with fails(errno.EOPNOTSUPP):
        os.setxattr("f", "nosuch.namespace", b"")
    with fails(errno.ENODATA):
        os.removexattr("f", "user.none")
    os.setxattr("f", "user." + "n" * 250, b"1")
    with fails(errno.ERANGE):
        os.setxattr("f", "user." + "n" * 251, b"1")
    os.chmod("f", 0o666)
    os.chmod(".", 0o777)

    def ordinary():
        assert "trusted.big" not in os.listxattr("f") and "user.big" in os.listxattr("f")
        os.setxattr("f", "user.mine", b"2")
        with fails(errno.EPERM):
            os.setxattr("f", "trusted.no", b"")
        with fails(errno.ENODATA):
            os.getxattr("f", "trusted.big")
    as_user(ordinary)
    for i in range(200):
        os.setxattr("f", f"user.many{i}", b"v%d" % i)
    assert len(os.listxattr("f")) == 205


@check()
def setgid_folder():
    os.mkdir("d")
    os.chown("d", USER, 4321)
    os.chmod("d", 0o2777)
    write("d/f")
    os.mkdir("d/sub")
    assert os.stat("d/f").st_gid == 4321
    assert os.stat("d/sub").st_gid == 4321 and os.stat("d/sub").st_mode & stat.S_ISGID

    def child():  # who is not of the group gets no setgid program of it
        os.umask(0)
        os.close(os.open("d/prog", os.O_CREAT | os.O_WRONLY, 0o2775))
        assert stat.S_IMODE(os.stat("d/prog").st_mode) == 0o775, oct(os.stat("d/prog").st_mode)
    as_user(child)


@check()
def sticky_folder():
    os.mkdir("d")
    os.chmod("d", 0o1777)
    write("d/f", mode=0o666)

    def child():
        with fails(errno.EPERM):
            os.unlink("d/f")
        with fails(errno.EPERM):
            os.rename("d/f", "d/g")
        write("d/own", mode=0o666)
        os.unlink("d/own")
    os.chmod(".", 0o755)
    as_user(child)


@check()
def set_id_bits_go():
    os.chmod(".", 0o777)
    page = mmap.mmap(-1, 4096)
    changes = {
        "write": lambda: os.pwrite(os.open("f", os.O_WRONLY), b"y", 0),
        "direct write": lambda: os.pwritev(os.open("f", os.O_WRONLY | os.O_DIRECT), [page], 0),
        "truncate": lambda: os.truncate("f", 5),
        "fallocate": lambda: fallocate(os.open("f", os.O_WRONLY), 0, 0, 20000),
        "punch": lambda: fallocate(os.open("f", os.O_WRONLY), PUNCH | KEEP_SIZE, 0, 4096),
        "copy": lambda: os.copy_file_range(os.open("g", os.O_RDONLY), os.open("f", os.O_WRONLY),
                                           100),
    }
    write("g", b"g" * 8192)

    def mode():  # and nothing else of it: the kernel answers from what it knows
        return int(subprocess.check_output(["stat", "-c", "%a", "f"]), 8)
    for name, change in changes.items():
        for bits, gid, groups, kept in ((0o6777, 0, (), 0o777), (0o6666, 0, (), 0o666),
                                        (0o6666, 77, (77,), 0o2666), (0o2676, 77, (77,), 0o676)):
            write("f", b"x" * 8192)
            os.chown("f", 0, gid)
            os.chmod("f", bits)
            assert mode() == bits
            as_user(change, groups=groups)
            assert mode() == kept, f"{name}: {oct(bits)} became {oct(mode())}"
            os.chmod("f", bits)
            change()  # root may
            assert mode() == bits, f"{name} by root: {oct(bits)} became {oct(mode())}"


@check()
def set_id_bits_go_with_the_owner():
    os.chmod(".", 0o777)
    give = {"group": lambda: os.chown("f", -1, USER), "both": lambda: os.chown("f", USER, USER)}
    for name, change in give.items():
        # by the owner, of the file's group or not; the second bit counts where the first can't
        for bits, gid, groups, kept in ((0o6777, 77, (77,), 0o777), (0o6777, 77, (), 0o777),
                                        (0o6767, 77, (77,), 0o2767), (0o6767, 77, (), 0o767),
                                        (0o2767, 77, (), 0o767), (0o2767, USER, (), 0o2767),
                                        (0o2676, 77, (), 0o676)):
            write("f")
            os.chown("f", USER, gid)
            os.chmod("f", bits)
            as_user(change, groups=groups)
            mode = stat.S_IMODE(os.stat("f").st_mode)
            assert mode == kept, f"{name}, group {gid}, in {groups}: {oct(bits)} became {oct(mode)}"
    for bits, kept in ((0o6777, 0o777), (0o6767, 0o2767)):  # by root
        write("f", b"x", bits)
        os.chown("f", 12, 34)
        assert stat.S_IMODE(os.stat("f").st_mode) == kept
    os.mkdir("d")  # a folder's bits are no program's
    os.chown("d", USER, 77)
    os.chmod("d", 0o6767)
    as_user(lambda: os.chown("d", USER, USER))
    assert stat.S_IMODE(os.stat("d").st_mode) == 0o6767


@check()
def set_gid_goes_with_a_list():
    os.chmod(".", 0o777)
    for groups, kept in (((77,), 0o2750), ((), 0o750)):
        write("f", mode=0o2750)
        os.chown("f", USER, 77)
        os.chmod("f", 0o2750)
        as_user(lambda: subprocess.check_call(["setfacl", "-m", "u:9:r", "f"]), groups=groups)
        assert stat.S_IMODE(os.stat("f").st_mode) == kept, oct(os.stat("f").st_mode)
        os.unlink("f")
    write("f")
    os.chown("f", USER, 77)
    for groups, kept in (((77,), 0o2710), ((), 0o710)):
        os.chmod("f", 0o2750)
        as_user(lambda: os.chmod("f", 0o2710), groups=groups)
        assert stat.S_IMODE(os.stat("f").st_mode) == kept, oct(os.stat("f").st_mode)
