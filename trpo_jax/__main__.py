"""`python -m trpo_jax` is `trpo-jax`."""

import os
import sys


def main() -> None:
    """Run `trpo-jax`, which may be interrupted while it still imports."""
    try:
        from trpo_jax.cli.main import main as run
    except KeyboardInterrupt:
        print("trpo-jax: interrupted", file=sys.stderr, flush=True)
        os._exit(130)
    run()


if __name__ == "__main__":
    main()
