"""Makes the disk of a test's ranks full: on PYTHONPATH, python imports this before all else.

$EXA_TEST_FULL names a step. From the first byte of its data on, os.write takes nothing, whatever
the file, until the file that did not fit is removed.
"""

import errno
import os

_step = os.environ.get("EXA_TEST_FULL")
_write, _unlink = os.write, os.unlink
_full = [False]


def write(fd, data):
    path = os.readlink(f"/proc/self/fd/{fd}")
    if f"step-{int(_step):08d}." in path and path.endswith(".exa.tmp"):
        _full[0] = True
    if _full[0]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return _write(fd, data)


def unlink(path, **kwargs):
    _unlink(path, **kwargs)
    if os.fspath(path).endswith(".exa.tmp"):
        _full[0] = False


if _step:
    os.write, os.unlink = write, unlink
