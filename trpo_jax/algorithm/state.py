"""Everything that a run needs to continue, as one pytree."""

from typing import Any

import jax
from flax import struct

from trpo_jax.agent.memory import Memory
from trpo_jax.agent.normalization import Normalizer

PyTree = Any


class TrainState(struct.PyTreeNode):
    """The state of training between two iterations; `B` is the number of environments.

    Attributes:
        policy_params: parameters of the policy.
        critic_params: parameters of the critic; none of its own if it shares its
            network with the policy.
        critic_optimizer_state: state of the critic's optimiser.
        normalizer: running statistics of observations and returns.
        env_state: pytree of `[B, ...]`; empty when a simulator on the host holds it.
        observation: pytree of `[B, ...]`, to act on next; not normalised.
        episode_return: `[B]`, sum of the rewards of the episode under way.
        episode_length: `[B]` int32, steps of the episode under way.
        env_index: `[B]` int32, the number of each environment: its random keys follow
            from it, wherever the environment is in the batch.
        key: the source of all randomness to come.
        iteration: int32 scalar, updates done so far; it is the policy's version.
        memory: `Memory` `[B, ...]` of policy and critic before `observation`.
    """

    policy_params: PyTree
    critic_params: PyTree
    critic_optimizer_state: PyTree
    normalizer: Normalizer
    env_state: PyTree
    observation: PyTree
    episode_return: jax.Array
    episode_length: jax.Array
    env_index: jax.Array
    key: jax.Array
    iteration: jax.Array
    memory: Memory = Memory()
