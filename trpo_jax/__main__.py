"""`python -m trpo_jax` is `trpo-jax`."""

import gc
import os
import sys

from trpo_jax.runs.collector import without_collector


def main() -> None:
    """Run `trpo-jax`, which may be interrupted while it still imports."""
    try:
        with without_collector():
            from trpo_jax.cli.main import main as run
    except KeyboardInterrupt:
        print("trpo-jax: interrupted", file=sys.stderr, flush=True)
        os._exit(130)
    try:
        run()
    finally:
        gc.freeze()  # what is left would be searched for garbage as Python ends


if __name__ == "__main__":
    main()
