"""Python's garbage collector, which is in the way while a run starts."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Do not search for cyclic garbage inside the block.

    Importing and tracing make many objects that stay. Searching them again and again
    takes a tenth of the time until training starts.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
