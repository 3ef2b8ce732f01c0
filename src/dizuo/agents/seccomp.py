"""What code in the sandbox may ask of the kernel, as a filter of system calls (seccomp BPF, `man 2 seccomp`).

A list of what is refused: Python and its libraries ask for too much, and on each version for something else, for a
list of what is allowed. What came to the kernel later than this list is refused as a whole.
"""

import platform
import struct
from collections.abc import Iterator, Mapping

_AUDIT_ARCH = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # the column below; linux/audit.h

# Name: number on x86_64, on aarch64 (None: it has none). From the kernel's tables, asm/unistd_64.h and
# asm-generic/unistd.h.
_REFUSED: Mapping[str, tuple[int | None, int | None]] = {
    # Other processes. Threads are made by clone, see below.
    "fork": (57, None), "vfork": (58, None), "ptrace": (101, 117), "kcmp": (312, 272),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    # Namespaces and mounts: the way to become root of something, and to most holes of the kernel.
    "setns": (308, 268), "unshare": (272, 97), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51),
    # Sockets of every kind. A namespace of the network does not hold back AF_VSOCK, nor AF_ALG.
    "socket": (41, 198), "bind": (49, 200), "listen": (50, 201), "connect": (42, 203),
    # Files that are more than they look to whoever reads the workspace afterwards: links lead out of it, a pipe
    # holds its reader for ever.
    "symlink": (88, None), "symlinkat": (266, 36), "link": (86, None), "linkat": (265, 37), "mknod": (133, None),
    "mknodat": (259, 33), "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    # Memory that no limit counts.
    "memfd_create": (319, 279), "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180),
    "remap_file_pages": (216, 234), "mbind": (237, 235), "set_mempolicy": (238, 237), "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # Parts of the kernel that attacks go through, and that no computation needs.
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_setup": (206, 0), "lookup_dcookie": (212, 18),
    "fanotify_init": (300, 262), "vmsplice": (278, 75), "personality": (135, 92), "modify_ldt": (154, None),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "uselib": (134, None), "_sysctl": (156, None),
    "ustat": (136, None), "sysfs": (139, None), "syslog": (103, 116), "iopl": (172, None), "ioperm": (173, None),
    # The machine as a whole. The kernel asks for rights here that are not there; this asks once more.
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225),
    "acct": (163, 89), "quotactl": (179, 60), "vhangup": (153, 58), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "adjtimex": (159, 171), "clock_adjtime": (305, 266), "sethostname": (170, 161),
    "setdomainname": (171, 162),
}  # fmt: skip

# A file of the workspace belongs, outside, to whoever runs Dizuo: one with a set-user-ID bit would be his, run by
# anybody. Name: numbers, which argument is the mode.
_MODES: Mapping[str, tuple[tuple[int | None, int | None], int]] = {
    "chmod": ((90, None), 1), "fchmod": ((91, 52), 1), "fchmodat": ((268, 53), 2), "open": ((2, None), 2),
    "openat": ((257, 56), 3), "creat": ((85, None), 1), "mkdir": ((83, None), 1), "mkdirat": ((258, 34), 2),
}  # fmt: skip
_SET_ID_BITS = 0o6000

_CLONE = (56, 220)
_CLONE_THREAD = 0x10000
_CLONE_NEW = 0x7E020000  # every namespace

# From here on the numbers are the same everywhere. Refused as if they were not there, so that libraries take the old
# way: clone3 and openat2 hide from a filter what they are asked for, io_uring does what it is asked past the filter.
_NEWER = 424
_NEWER_ALLOWED = (436, 439, 441, 449)  # close_range, faccessat2, epoll_pwait2, futex_waitv

_EPERM, _ENOSYS = 1, 38
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_AT_NUMBER, _AT_ARCH, _AT_ARGUMENTS = 0, 4, 16  # struct seccomp_data


def known(machine: str = "") -> bool:
    """Whether there is a filter for that architecture (as `uname -m` says it; this machine's if not said)."""
    return (machine or platform.machine()) in _AUDIT_ARCH


def program(machine: str = "", *, threads: bool = True) -> bytes:
    """The filter as an array of struct sock_filter. Raises KeyError for an architecture that is not `known`."""
    column, arch = _AUDIT_ARCH[machine or platform.machine()]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in _instructions(column, arch, threads))


def _instructions(column: int, arch: int, threads: bool) -> Iterator[tuple[int, int, int, int]]:
    """(code, jump if true, jump if false, value), see linux/filter.h."""
    refuse = (_RETURN, 0, 0, _ERRNO | _EPERM)
    allow = (_RETURN, 0, 0, _ALLOW)
    yield _LOAD, 0, 0, _AT_ARCH
    yield _JUMP_EQUAL, 1, 0, arch
    yield _RETURN, 0, 0, _KILL  # calls of another architecture have other numbers
    yield _LOAD, 0, 0, _AT_NUMBER
    for number in _NEWER_ALLOWED:
        yield _JUMP_EQUAL, 0, 1, number
        yield allow
    yield _JUMP_AT_LEAST, 0, 1, _NEWER  # with those of x32, which begin at 1 << 30
    yield _RETURN, 0, 0, _ERRNO | _ENOSYS
    for numbers in _REFUSED.values():
        if (number := numbers[column]) is not None:
            yield _JUMP_EQUAL, 0, 1, number
            yield refuse
    for numbers, argument in _MODES.values():
        if (number := numbers[column]) is not None:
            yield _JUMP_EQUAL, 0, 4, number
            yield _LOAD, 0, 0, _AT_ARGUMENTS + 8 * argument  # its lower half: both are little-endian
            yield _JUMP_ANY_BIT, 0, 1, _SET_ID_BITS
            yield refuse
            yield allow
    if not threads:
        yield _JUMP_EQUAL, 0, 1, _CLONE[column]
        yield refuse
        yield allow
        return
    yield _JUMP_EQUAL, 0, 5, _CLONE[column]
    yield _LOAD, 0, 0, _AT_ARGUMENTS
    yield _JUMP_ANY_BIT, 1, 0, _CLONE_NEW
    yield _JUMP_ANY_BIT, 1, 0, _CLONE_THREAD
    yield refuse
    yield allow
    yield allow
