"""`python -m trpo_jax` is `trpo-jax`."""

import gc
import os
import sys


def main() -> None:
    """Run `trpo-jax`, which may be interrupted while it still imports."""
    # Imports and tracing make many objects that stay. Python would search them for
    # garbage after every 700 more, for a tenth of the time until training starts.
    gc.set_threshold(100_000)
    try:
        from trpo_jax.cli.main import main as run
    except KeyboardInterrupt:
        print("trpo-jax: interrupted", file=sys.stderr, flush=True)
        os._exit(130)
    try:
        run()
    finally:
        gc.freeze()  # or everything is searched once more as Python ends


if __name__ == "__main__":
    main()
