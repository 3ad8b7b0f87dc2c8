"""What makes a whole process pause for a moment, and need not."""

import gc


def avoid_pauses() -> None:
    """Call it once all is loaded: what is there then stays, and the garbage collector need not look at it again.

    It stops every thread for 70 ms to look at all there is, every now and then, and mostly in the midst of answers.
    """
    gc.collect()
    gc.freeze()
