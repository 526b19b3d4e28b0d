"""How many associations may be open to one destination."""

from support.system.clock import Clock

from workers.delivery.pool.slots import Slots


def test_one_association_leaves_no_other() -> None:
    assert Slots(1).take() is None


def test_numbers_are_used_again_and_never_twice_at_once() -> None:
    slots = Slots(3)
    assert [slots.take() for _ in range(3)] == [2, 3, None]
    slots.give_back(2)
    assert [slots.take(), slots.take()] == [2, None]


def test_after_one_too_many_no_other_is_tried_for_a_while_longer_each_time() -> None:
    clock = Clock(0.0)
    slots = Slots(2, lambda: clock.now)
    pauses = []
    for _ in range(8):
        slots.pause()
        began = clock.now
        while (number := slots.take()) is None:
            clock.pass_seconds(5)
        slots.give_back(number)
        pauses.append(clock.now - began)
    assert 40 <= pauses[0] <= 80
    assert 2000 <= pauses[-1] <= 4600
    slots.resume()
    slots.pause()
    clock.pass_seconds(80)
    assert slots.take() == 2, "it begins anew"
