"""Recordings made for tests: people that move by known steps."""

import itertools

import numpy as np

from edge_node.data import People, Person
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
