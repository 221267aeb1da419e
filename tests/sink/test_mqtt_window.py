"""Which messages of QoS 1 may go, and when."""

from edge_node.sink.mqtt_window import Window


class Line:
    """Stands for the client: numbers what is sent."""

    def __init__(self):
        self.sent = []

    def of(self, name):
        def send():
            self.sent.append(name)
            return len(self.sent)

        return send


def test_what_finds_no_room_goes_later_in_order_and_keeps_its_number():
    line, window = Line(), Window()
    window.most = 2
    assert [window.send(line.of(name), -number) for number, name in enumerate("abcd", 1)] == [1, 2, -3, -4]
    window.pump()
    assert line.sent == ["a", "b"]
    assert window.acknowledged(1) == 1
    window.pump()
    assert line.sent == ["a", "b", "c"]
    assert [window.acknowledged(packet_id) for packet_id in (2, 3)] == [2, -3]
    window.pump()
    assert line.sent == ["a", "b", "c", "d"]


def test_a_question_needs_no_room_but_does_not_overtake_what_waits():
    line, window = Line(), Window()
    window.most = 1
    for number, name in enumerate("abc", 1):
        window.send(line.of(name), -number, counts=name != "b")
    assert line.sent == ["a", "b"]
    window.send(line.of("question"), -4, counts=False)
    window.acknowledged(1)
    window.pump()
    assert line.sent == ["a", "b", "c", "question"]


def test_a_connection_that_is_gone_takes_no_room():
    line, window = Line(), Window()
    window.most = 1
    assert window.send(lambda: None, -1) is None
    assert window.send(line.of("a"), -2) == 1
