from edge_node.sink.mqtt_sizes import HANG_UPS, SizeLimit, Unread
from edge_node.sink.outgoing import Outgoing


def message(size, qos=1):
    return Outgoing(f"t/{size}", b"x" * size, qos)


def connection(*read, unread=()):
    """What is known of a connection at its end, by the sizes of its messages: those ``read`` for certain, and the others."""
    sent = Unread()
    for number, size in enumerate((*read, *unread)):
        sent.sent(number, message(size))
    if read:
        sent.answered(len(read) - 1)
    return sent


def ends(limit, *connections, brief=True):
    return [limit.lost(unread, brief) for unread in connections]


def test_an_answer_is_one_to_everything_sent_before_but_the_departure_of_a_message_of_qos_0_is_none():
    unread = Unread()
    unread.sent(1, message(500, qos=0))
    unread.sent(2, message(300))
    unread.sent(3, None)
    unread.sent(4, message(200))
    unread.answered(1)
    assert (unread.largest, unread.largest_read_bytes) == (message(500, qos=0), 0)
    unread.answered(3)
    assert (unread.largest, unread.largest_read_bytes) == (message(200), 500)
    unread.answered(4)
    unread.answered(99)
    assert unread.largest is None


def test_what_is_never_answered_takes_no_memory_without_end():
    unread = Unread()
    for number in range(10_000):
        unread.sent(number, message(10, qos=0))
    assert len(unread._messages) < 1000


def test_a_message_at_which_three_brief_connections_in_a_row_ended_is_left_out():
    limit = SizeLimit()
    assert ends(limit, *[connection(800, unread=[16_000, 300])] * HANG_UPS) == [None, None, message(16_000)]
    assert limit.bytes == 15_999


def test_of_several_sizes_none_is_left_out_that_may_be_small_enough():
    limit = SizeLimit()
    ends(limit, connection(800, unread=[16_000]), connection(unread=[9_000, 16_000]), connection(800, unread=[12_000]))
    assert limit.bytes == 11_999


def test_a_broker_that_reads_nothing_at_all_has_another_trouble():
    limit = SizeLimit()
    ends(limit, *[connection(unread=[16_000])] * 5)
    assert limit.bytes is None


def test_a_broker_that_dies_of_something_else_is_not_taken_for_one_with_a_limit():
    limit = SizeLimit()
    ends(limit, *[connection(800)] * 5)  # nothing was under way
    ends(limit, *[connection(16_000, unread=[400])] * 5)  # it has read larger ones
    ends(limit, connection(16_000, unread=[400]), *[connection(unread=[400])] * 5)  # on another connection, that is
    ends(limit, *[connection(800, unread=[16_000])] * 5, brief=False)
    assert limit.bytes is None


def test_a_connection_that_lasted_ends_what_was_believed_of_the_broker():
    limit = SizeLimit()
    ends(limit, *[connection(800, unread=[16_000])] * HANG_UPS)
    ends(limit, connection(800), brief=False)
    assert limit.bytes is None


def test_a_smaller_message_that_is_too_large_as_well_is_left_out_next():
    limit = SizeLimit()
    ends(limit, *[connection(800, unread=[16_000, 5_000])] * HANG_UPS, *[connection(800, unread=[5_000])] * HANG_UPS)
    assert limit.bytes == 4_999
