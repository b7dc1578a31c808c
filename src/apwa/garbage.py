"""How often Python looks for garbage in processes that are apwa's own."""

import gc


def look_less_often() -> None:
    """For a process that only apwa works in: not for one whose user calls apwa as a library.

    The driver and its hosts make thousands of objects a second that end by themselves and almost
    none that do not. Looking through them at Python's own thresholds takes a tenth of a driver's
    time, and more where Ray is loaded (``bench/cluster.py``).
    """
    gc.set_threshold(20_000, 10, 50)
