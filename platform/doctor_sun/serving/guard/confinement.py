"""What a process that decodes may no longer ask of the kernel: a picture that takes a decoder over
finds no network, no other process, no program to start and no file to write.

A seccomp filter, by libseccomp where the machine has it (Debian, Ubuntu: `libseccomp2`).
"""

import errno
import os

FORBIDDEN = (
    *(
        "socket",
        "socketpair",
        "connect",
        "bind",
        "listen",
        "accept",
        "accept4",
        "sendto",
        "sendmsg",
    ),
    *("sendmmsg", "execve", "execveat", "fork", "vfork", "kill", "tkill", "pidfd_open"),
    *("pidfd_getfd", "pidfd_send_signal", "ptrace", "process_vm_readv", "process_vm_writev"),
    *("creat", "openat2", "truncate", "ftruncate", "rename", "renameat", "renameat2", "link"),
    *("linkat", "symlink", "symlinkat", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir", "mknod"),
    *("mknodat", "chmod", "fchmod", "fchmodat", "chown", "fchown", "lchown", "fchownat"),
    *("setxattr", "lsetxattr", "fsetxattr", "mount", "umount2", "pivot_root", "chroot", "setns"),
    *("unshare", "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "add_key", "keyctl"),
    *("request_key", "init_module", "finit_module", "kexec_load", "open_by_handle_at"),
    *("memfd_create", "shmget", "msgget", "semget", "mq_open", "inotify_init1", "fanotify_init"),
)
OPENS = {"open": 1, "openat": 2}
"""Calls that open files, and which argument says how."""
CLONE_THREAD = 0x10000


def confine() -> bool:
    """Confine this process and all its threads for good; False where libseccomp is not there.

    What is forbidden fails with "permission denied", as it would for a user without the right.
    """
    try:
        import pyseccomp
    except (ImportError, OSError, RuntimeError):  # the package, or the library under it
        return False
    denied = pyseccomp.ERRNO(errno.EPERM)
    rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    rules.set_attr(pyseccomp.Attr.ACT_BADARCH, pyseccomp.KILL_PROCESS)
    for name in FORBIDDEN:
        rules.add_rule(denied, name)
    for name, place in OPENS.items():
        for mask, flags in (
            (os.O_ACCMODE, os.O_WRONLY),
            (os.O_ACCMODE, os.O_RDWR),
            (os.O_CREAT, os.O_CREAT),
        ):
            how = pyseccomp.Arg(place, pyseccomp.MASKED_EQ, mask, flags)
            rules.add_rule(denied, name, how)
    child = pyseccomp.Arg(0, pyseccomp.MASKED_EQ, CLONE_THREAD, 0)
    rules.add_rule(denied, "clone", child)
    # Its flags cannot be looked at; glibc then takes `clone` for its threads.
    rules.add_rule(pyseccomp.ERRNO(errno.ENOSYS), "clone3")
    rules.load()
    return True
