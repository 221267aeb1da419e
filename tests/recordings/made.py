"""Recordings made for tests: people that move by known steps."""

import itertools
import mmap
import signal
import struct
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np

from edge_node.data import People, Person
from edge_node.recordings.read import read_recording
from edge_node.sink.messages import encode_pose


def people(seq, count=1, t0=1_700_000_000.0, fps=30.0):
    """Frame ``seq``: ``count`` people; joint k of person i stands at x = 0.1 i + 0.01 k, y = 0.001 (seq mod 100)."""
    persons = []
    for number in range(1, count + 1):
        keypoints = np.empty((17, 3), np.float32)
        keypoints[:, 0] = 0.1 * number + 0.01 * np.arange(17)
        keypoints[:, 1] = 0.3 + 0.001 * (seq % 100)
        keypoints[:, 2] = 0.75
        box = (0.1 * number, 0.3, 0.1 * number + 0.16, 0.5)
        persons.append(Person(id=number, score=0.625, box=box, keypoints=keypoints))
    ts = round(t0 + seq / fps, 6)
    return People(seq, 0, round(ts * 1e9), ts, 640, 480, "cpu", tuple(persons), recorded_age_ms=12.5)


def lines(count, people_in_view=1):
    """So many lines as ``record`` writes them."""
    return [encode_pose(people(seq, people_in_view)) + b"\n" for seq in range(count)]


def write_recording(path, count=10, people_in_view=1):
    path.write_bytes(b"".join(itertools.chain(lines(count, people_in_view))))
    return path


WRITER = textwrap.dedent("""
    import mmap, struct, sys
    from edge_node.config.models import Record
    from edge_node.health import Health
    from edge_node.sink.record import RecordSink
    from tests.recordings.made import people
    file = open(sys.argv[2], "r+b")
    counter = mmap.mmap(file.fileno(), 8)
    sink = RecordSink(Record(path=sys.argv[1], max_bytes=int(sys.argv[3]), keep=1000), Health())
    sink.start()
    for seq in range(10**9):
        sink.deliver(people(seq))
        counter[:8] = struct.pack("q", seq + 1)
""")


def killed_writer(path, max_bytes, lines):
    """Kill a process that records to ``path`` as fast as it can, some time after so many lines.

    Returns how many it had delivered (it counts in shared memory, after each), and the numbers of the messages that are left.
    """
    count = path.parent / "count"
    count.write_bytes(bytes(8))
    command = [sys.executable, "-c", WRITER, str(path), str(count), str(max_bytes)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    with count.open("r+b") as file, mmap.mmap(file.fileno(), 8) as counter:
        while struct.unpack("q", counter[:8])[0] < lines:
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
        delivered = struct.unpack("q", counter[:8])[0]
    older_first = sorted(path.parent.glob(f"{path.name}*"), key=lambda file: -int(file.name.removeprefix(path.name).strip(".") or 0))
    return delivered, [message["seq"] for file in older_first for message in read_recording(file)]
