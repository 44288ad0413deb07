"""Runs a command where the kernel refuses things, as containers do:

    confine.py no-io-uring COMMAND...      io_uring_setup answers EPERM (a seccomp filter)
    confine.py little-memlock COMMAND...   64 KiB of locked memory, and no CAP_IPC_LOCK

The restriction is put on this process, which then becomes the command: the broker under test sees
a kernel that says no, not a setting of ours."""

import ctypes
import os
import platform
import struct
import sys

PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
SECCOMP_RET_ALLOW = 0x7FFF0000
SECCOMP_RET_ERRNO = 0x00050000
EPERM = 1

# The number is the same on every architecture: io_uring came after the tables were unified.
IO_URING_SETUP = 425
LOAD_SYSCALL_NUMBER = 0x20  # BPF_LD | BPF_W | BPF_ABS, of seccomp_data.nr at offset 0
JUMP_IF_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
RETURN = 0x06  # BPF_RET | BPF_K

LITTLE_MEMLOCK_BYTES = 65_536


class Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def refuse_io_uring() -> None:
    instructions = b"".join(
        struct.pack("<HBBI", *instruction)
        for instruction in [
            (LOAD_SYSCALL_NUMBER, 0, 0, 0),
            (JUMP_IF_EQUAL, 0, 1, IO_URING_SETUP),
            (RETURN, 0, 0, SECCOMP_RET_ERRNO | EPERM),
            (RETURN, 0, 0, SECCOMP_RET_ALLOW),
        ]
    )
    memory = ctypes.create_string_buffer(instructions, len(instructions))
    program = Program(len(instructions) // 8, ctypes.addressof(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in [
        (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0),
    ]:
        if libc.prctl(*arguments) != 0:
            raise OSError(ctypes.get_errno(), f"prctl on {platform.machine()}")


def main() -> None:
    how, command = sys.argv[1], sys.argv[2:]
    if how == "no-io-uring":
        refuse_io_uring()
    elif how == "little-memlock":
        limit = f"--memlock={LITTLE_MEMLOCK_BYTES}:{LITTLE_MEMLOCK_BYTES}"
        drop = ["setpriv", "--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock"]
        # With the capability still in the bounding set of a root shell, the limit means nothing.
        command = ["prlimit", limit, *(drop if os.geteuid() == 0 else []), *command]
    else:
        sys.exit(f"'{how}': no-io-uring or little-memlock?")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
