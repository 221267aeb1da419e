"""Picture memory is used again, and never while somebody looks at it."""

from edge_node.camera.pool import ImagePool


def test_memory_that_nobody_holds_is_used_again():
    pool = ImagePool()
    address = pool.take(4, 6).ctypes.data
    assert pool.take(4, 6).ctypes.data == address


def test_a_held_picture_or_a_view_of_it_is_never_handed_out():
    pool = ImagePool(size=3)
    image = pool.take(4, 6)
    view = pool.take(4, 6)[1:, ::2]
    held = {image.ctypes.data, view.base.ctypes.data}
    for _ in range(5):
        assert pool.take(4, 6).ctypes.data not in held


def test_when_all_are_held_there_is_still_one_more():
    pool = ImagePool(size=2)
    images = [pool.take(4, 6) for _ in range(5)]
    assert len({image.ctypes.data for image in images}) == 5


def test_another_size_is_given_when_asked_for():
    pool = ImagePool()
    assert pool.take(4, 6).shape == (4, 6, 3)
    assert pool.take(8, 2).shape == (8, 2, 3)
