"""Nothing that a process of ours holds in memory reaches the flash or another process.

A file of its own because the sound process does the same and loads nothing it does not need.
"""

import ctypes
import os
import resource

_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
_PR_SET_DUMPABLE = 4


def harden() -> list[str]:
    """Keeps memory out of swap, core dumps and other processes' reach. Returns what was refused, a sentence each.

    Pages are locked as they are touched (MCL_ONFAULT): locking what is mapped but never used would double the resident
    size (libraries map far more than they touch).
    """
    refused = []
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        refused.append(f"The process could not be closed to debuggers: {os.strerror(ctypes.get_errno())}.")
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) != 0:
        refused.append(
            f"Memory could not be locked: {os.strerror(ctypes.get_errno())}."
            " Audio waiting to be sealed could reach a swap file, if there is one: set LimitMEMLOCK=infinity."
        )
    return refused
