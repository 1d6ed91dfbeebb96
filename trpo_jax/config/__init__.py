"""What can be configured: the algorithm, the networks, and the run.

Nothing here imports JAX, so that help is printed and bad input refused at once.
"""

from trpo_jax.config.algorithm import Config
from trpo_jax.config.network import NetworkConfig
from trpo_jax.config.run import RunConfig

__all__ = ["Config", "NetworkConfig", "RunConfig"]
