"""`python -m trpo_jax` is `trpo-jax`."""

from trpo_jax.cli import main

if __name__ == "__main__":
    main()
