import subprocess
import sys
import time

import pytest

from edge_node.config.models import MqttSpool
from edge_node.health import Health
from edge_node.sink import outbox as outbox_module
from edge_node.sink.outbox import Outbox
from edge_node.sink.outgoing import Outgoing


class Wire:
    """The other end of ``publish``: keeps what was sent, and acknowledges on demand."""

    def __init__(self):
        self.sent = []
        self.ids = []

    def publish(self, message):
        self.sent.append(int(message.payload))
        self.ids.append(len(self.sent))
        return len(self.sent)

    def take_acknowledgements(self):
        ids, self.ids = self.ids, []
        return ids


def message(number):
    return Outgoing("t", b"%d" % number, keep=True)


@pytest.fixture
def disk(tmp_path):
    return tmp_path / "disk" / "spool"


@pytest.fixture
def make(tmp_path, disk):
    def made(health=None, config=None):
        return Outbox(config or MqttSpool(), disk, tmp_path / "ram" / "spool", health or Health())

    return made


def deliver_all(outbox, wire):
    for _ in range(1000):
        outbox.pump()
        outbox.acknowledged(wire.take_acknowledgements())
        if len(outbox) == 0:
            return


def test_while_the_broker_is_there_nothing_is_written_to_disk(make, disk):
    outbox, wire = make(), Wire()
    outbox.attach(wire.publish)
    for number in range(100):
        outbox.add(message(number))
        outbox.pump()
        outbox.acknowledged(wire.take_acknowledgements())
    assert wire.sent == list(range(100))
    assert len(outbox) == 0
    assert not disk.exists()


def test_without_a_broker_everything_waits_on_disk_and_is_sent_in_order_later(make, disk):
    first = make()
    for number in range(200):
        first.add(message(number))
    first.close()
    assert disk.exists()
    outbox, wire = make(), Wire()
    outbox.attach(wire.publish)
    outbox.add(message(200))  # what happens meanwhile comes behind what waited
    deliver_all(outbox, wire)
    assert wire.sent == list(range(201))


@pytest.mark.parametrize(("most", "of_these"), [(64, 48), (20, 15), (10, 7), (1, 1)])
def test_no_more_is_under_way_than_leaves_the_broker_room_for_what_is_said_of_the_moment(make, most, of_these):
    outbox, wire = make(), Wire()
    for number in range(200):
        outbox.add(message(number))
    outbox.attach(wire.publish, most)
    outbox.pump()
    outbox.pump()
    assert len(wire.sent) == of_these
    deliver_all(outbox, wire)
    assert wire.sent == list(range(200))


def test_what_was_not_acknowledged_is_sent_again_over_the_next_connection(make):
    outbox, wire = make(), Wire()
    outbox.attach(wire.publish)
    for number in range(3):
        outbox.add(message(number))
    outbox.pump()
    outbox.acknowledged([1])
    outbox.attach(None)
    outbox.add(message(3))
    again = Wire()
    outbox.attach(again.publish)
    deliver_all(outbox, again)
    assert again.sent == [1, 2, 3]


def test_a_silent_broker_counts_as_none_and_late_acknowledgements_still_count(make, disk, monkeypatch):
    monkeypatch.setattr(outbox_module, "SILENT_S", 0.05)
    outbox, wire = make(), Wire()
    outbox.attach(wire.publish)
    for number in range(3):
        outbox.add(message(number))
    outbox.pump()
    time.sleep(0.1)
    outbox.add(message(3))
    outbox.pump()
    assert disk.exists()
    outbox.acknowledged(wire.take_acknowledgements())
    deliver_all(outbox, wire)
    assert wire.sent == [0, 1, 2, 3]
    assert len(outbox) == 0


def test_what_a_killed_process_had_under_way_is_sent_by_the_next(make):
    killed, wire = make(), Wire()
    killed.attach(wire.publish)
    killed.add(message(1))
    killed.pump()
    killed._volatile.close()  # as the kernel does; nothing else is done at a kill
    outbox, again = make(), Wire()
    outbox.attach(again.publish)
    deliver_all(outbox, again)
    assert again.sent == [1]


def test_a_disk_that_takes_nothing_is_said_and_messages_wait_in_memory(make, disk, caplog):
    disk.parent.write_text("a file where the folder should be")
    health = Health()
    outbox, wire = make(health), Wire()
    for number in range(5):
        outbox.add(message(number))
    assert "events cannot be saved" in health.problems()["spool"]
    assert caplog.text.count("events cannot be saved") == 1
    outbox.attach(wire.publish)
    deliver_all(outbox, wire)
    assert wire.sent == list(range(5))


FULL_DISK_WITH_EVENTS = """
import resource, signal, sys
from pathlib import Path
from edge_node.config.models import MqttSpool
from edge_node.health import Health
from edge_node.sink.outbox import Outbox
from edge_node.sink.outgoing import Outgoing
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
health, sent = Health(), []
outbox = Outbox(MqttSpool(), Path(sys.argv[1]) / "disk", Path(sys.argv[1]) / "ram", health)
for number in range(3):
    outbox.add(Outgoing("t", b"%d" % number, keep=True))
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
for number in range(3, 5):
    outbox.add(Outgoing("t", b"%d" % number, keep=True))
assert "they wait in memory" in health.problems()["spool"]
outbox.attach(lambda message: sent.append(int(message.payload)) or len(sent))
for number in range(5, 7):
    outbox.pump()
    outbox.acknowledged(range(1, len(sent) + 1))
    outbox.add(Outgoing("t", b"%d" % number, keep=True))
outbox.pump()
assert sent == list(range(7)), sent
"""


def test_a_disk_that_became_full_holds_back_neither_what_is_on_it_nor_what_comes_after(tmp_path):
    subprocess.run([sys.executable, "-c", FULL_DISK_WITH_EVENTS, str(tmp_path)], check=True, timeout=60)


def test_the_problem_is_gone_when_the_disk_takes_messages_again(make, disk, monkeypatch):
    monkeypatch.setattr(outbox_module, "RETRY_S", 0.0)
    disk.parent.write_text("a file where the folder should be")
    health = Health()
    outbox = make(health)
    outbox.add(message(1))
    disk.parent.unlink()
    outbox.add(message(2))
    assert health.problems() == {}
    outbox.close()
    assert len(make()) == 2


FULL_RAM_DISK = """
import resource, signal, sys
from pathlib import Path
from edge_node.config.models import MqttSpool
from edge_node.health import Health
from edge_node.sink.outbox import Outbox
from edge_node.sink.outgoing import Outgoing
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
outbox, sent = Outbox(MqttSpool(), None, Path(sys.argv[1]), Health()), []
outbox.attach(lambda message: sent.append(int(message.payload)) or len(sent))
for number in range(60):
    outbox.add(Outgoing("t", b"%d" % number + b" " * 2000, keep=True))
outbox.pump()
largest = max(file.stat().st_size for file in Path(sys.argv[1]).parent.iterdir())
resource.setrlimit(resource.RLIMIT_FSIZE, (largest + 20_000, resource.RLIM_INFINITY))
for number in range(60, 90):
    outbox.add(Outgoing("t", b"%d" % number + b" " * 2000, keep=True))
while len(outbox):
    outbox.acknowledged(range(1, len(sent) + 1))
    outbox.pump()
assert sent == list(range(90)), sent
assert not list(Path(sys.argv[1]).parent.iterdir()), "the next start would send it once more"
"""


def test_a_ram_disk_that_is_full_loses_nothing_and_sends_nothing_twice(tmp_path):
    subprocess.run([sys.executable, "-c", FULL_RAM_DISK, str(tmp_path / "spool")], check=True, timeout=60)


def test_what_does_not_fit_is_counted(make):
    health = Health()
    outbox = make(health, MqttSpool(max_bytes=65_536))
    for _ in range(20):
        outbox.add(Outgoing("t", b"x" * 10_000, keep=True))
    outbox.pump()
    assert health.report().counters["mqtt_spool_forgotten"] == 14
    assert len(outbox) == 6


def test_what_was_too_old_is_counted_also_when_nothing_else_is_left(make):
    health = Health()
    outbox, wire = make(health, MqttSpool(max_age_s=0.05)), Wire()
    for number in range(3):
        outbox.add(message(number))
    time.sleep(0.1)
    outbox.attach(wire.publish)
    deliver_all(outbox, wire)
    assert (wire.sent, len(outbox)) == ([], 0)
    assert health.report().counters["mqtt_spool_forgotten"] == 3


def test_without_a_spool_on_disk_messages_wait_in_memory(tmp_path):
    outbox, wire = Outbox(MqttSpool(), None, None, Health()), Wire()
    outbox.add(message(1))
    outbox.attach(wire.publish)
    deliver_all(outbox, wire)
    assert wire.sent == [1]
    assert not list(tmp_path.iterdir())
