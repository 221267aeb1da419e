"""One connection, at a real broker."""

from edge_node.sink.mqtt_session import Login, Session
from edge_node.sink.outgoing import Outgoing
from tests.sink.parts import wait_for


class Replying:
    """A listener that publishes when the broker answers; notes what happened and whether something was left to be written."""

    def __init__(self):
        self.happened = []

    def acknowledged(self, *_):
        self.happened.append("written")

    def answered(self, session):
        self.happened.append("answered")
        session.publish(Outgoing("edge_node/v1/test/pose", b"{}", 0))

    def exchanged(self):
        self.happened.append("exchanged")

    def refused(self, *what):
        raise AssertionError(what)

    def taken(self, *what):
        raise AssertionError(what)

    def received(self, *what):
        raise AssertionError(what)


def test_what_an_answer_gives_rise_to_is_written_before_anything_else_is_woken(broker, ear_at):
    ear, listener = ear_at(broker.port), Replying()
    login = Login("test", None, None, None, 60, "edge_node/v1/test/status", b"", "edge_node/v1/test/probe")
    session = Session("127.0.0.1", broker.port, "5", login, listener)
    session.open()
    try:
        session.probe()
        session.flush()
        wait_for(lambda: "answered" in listener.happened and listener.happened[-1] == "exchanged")
        assert listener.happened[listener.happened.index("answered") :][:3] == ["answered", "written", "exchanged"]
        wait_for(lambda: [heard.topic for heard in ear.heard] == ["edge_node/v1/test/pose"])
    finally:
        session.close()
