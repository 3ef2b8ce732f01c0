"""The memory that this process holds of the system."""

import ctypes


def trim() -> None:
    """Gives the system back what is free among what is in use, which glibc keeps and takes milliseconds to let go: with
    many threads some 30 MB in an hour of 100 requests a second; in a training whose batches differ in length three
    quarters of the memory. Does nothing with another C library."""
    release = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if release is not None:
        release(0)
