"""What was found out is found out once, as long as there is room for it."""

import threading

from chats.knowledge.remembering import Memory


def found(text):
    return lambda: text


def not_again():
    raise AssertionError("it was remembered")


def test_the_latest_used_stays():
    memory = Memory(100, weight=len)
    for key in range(10):
        memory.get(key, found(f"{key}" * 10))
    assert memory.get(0, not_again) == "0" * 10
    memory.get("new", found("n" * 10))
    assert memory.get(0, not_again) == "0" * 10
    assert memory.get(1, found("again")) == "again"
    assert memory.bytes <= 100


def test_what_is_too_large_pushes_nothing_out():
    memory = Memory(100, weight=len)
    memory.get("small", found("s"))
    assert memory.get("large", found("l" * 13)) == "l" * 13
    assert memory.get("large", found("again")) == "again"
    assert memory.get("small", not_again) == "s"


def test_threads_that_look_for_the_same_agree_on_its_size():
    memory, together = Memory(100, weight=len), threading.Barrier(4)

    def find():
        together.wait()
        return "same"

    threads = [threading.Thread(target=memory.get, args=("key", find)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert memory.bytes == 4
