"""Python's garbage collector, which is in the way while a run is compiled."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Do not search for cyclic garbage inside the block.

    Tracing makes many objects that stay, and they would be searched again and again.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
