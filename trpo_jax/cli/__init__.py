"""The command `trpo-jax`."""
