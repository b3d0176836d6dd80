"""Memory of Python code that runs in a process of its own.

A test process that already has free memory takes new blocks from it, so memory is measured in a new process.
`resource.getrusage` does not serve there: Linux lets a new process begin with the peak of its parent.
"""

import subprocess
import sys

import pytest

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads memory from /proc")

DEFINITIONS = """
import re
from pathlib import Path

def read_status(field):
    (kilobytes,) = re.findall(rf"^{field}:\\s+(\\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(kilobytes) / 1024

def resident_megabytes():
    return read_status("VmRSS")

def peak_megabytes():
    return read_status("VmHWM")
"""


def measured(code, *args):
    """Return the lines that `code` prints; it can call `resident_megabytes()` and `peak_megabytes()`."""
    command = [sys.executable, "-c", DEFINITIONS + code, *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
