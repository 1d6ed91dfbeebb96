"""Everything a continued run needs, as one pytree."""

from typing import Any

import jax
from flax import struct

from trpo_jax.agent.normalization import Normalizer

PyTree = Any


@struct.dataclass
class TrainState:
    """The state of training between two iterations; `B` is the number of environments.

    Attributes:
        policy_params: of the policy.
        critic_params: of the critic.
        critic_optimizer_state: of the critic's optimiser.
        normalizer: running statistics.
        env_state: pytree of `[B, ...]`.
        observation: pytree of `[B, ...]`, to act on next; not normalised.
        episode_return: `[B]` sum of the rewards of the episode under way.
        episode_length: `[B]` int32, its steps so far.
        key: the source of all randomness to come.
        iteration: int32 scalar, updates done; it numbers the policies.
    """

    policy_params: PyTree
    critic_params: PyTree
    critic_optimizer_state: PyTree
    normalizer: Normalizer
    env_state: PyTree
    observation: PyTree
    episode_return: jax.Array
    episode_length: jax.Array
    key: jax.Array
    iteration: jax.Array
