"""``edge-node run``: what it leaves to the program that follows it."""

import subprocess
import sys

BEFORE = """
import os, sys
from edge_node.commands.run import leave_no_device_open
device = os.dup2(os.open(sys.argv[1], os.O_RDONLY), 40)  # inheritable, as OpenCV opens a camera
if "--leave" in sys.argv:
    leave_no_device_open()
os.execv(sys.executable, [sys.executable, "-c", "import os; print(os.path.exists('/proc/self/fd/40'), os.path.exists('/proc/self/fd/1'))"])
"""


def held_afterwards(*words):
    """Whether the program after a restart has the device, and its standard output."""
    return subprocess.run([sys.executable, "-c", BEFORE, *words], capture_output=True, text=True, check=True).stdout.split()


def test_after_a_restart_no_device_is_held_open_by_the_program_before(tmp_path):
    assert held_afterwards(str(tmp_path)) == ["True", "True"]
    assert held_afterwards(str(tmp_path), "--leave") == ["False", "True"]
