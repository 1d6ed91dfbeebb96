"""The layers of the standard agent: multi-layer perceptrons and their heads."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from trpo_jax.agent.features import flatten_observation, width_of
from trpo_jax.agent.heads import distribution_of, forbid, log_std_size
from trpo_jax.agent.initializers import orthogonal
from trpo_jax.environments.nested import leaves_of
from trpo_jax.environments.spaces import ACTION_MASK, Box, Space

PyTree = Any


class MLP(nn.Module):
    """A multi-layer perceptron with zero biases.

    Attributes:
        hidden_sizes: widths of the hidden layers; none gives a linear map.
        out_size: width of the output.
        activation: the name of an activation function of flax.
        out_scale: gain of the last layer; hidden layers have √2.
        orthogonal: use orthogonal kernels, not Gaussian ones of variance 1/fan-in.
    """

    hidden_sizes: Sequence[int]
    out_size: int
    activation: str
    out_scale: float
    orthogonal: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[..., D]` to `[..., out_size]`."""

        def kernel(gain: float) -> Callable[..., jax.Array]:
            return (
                orthogonal(gain) if self.orthogonal else nn.initializers.lecun_normal()
            )

        for width in self.hidden_sizes:
            x = nn.Dense(width, kernel_init=kernel(math.sqrt(2)))(x)
            x = getattr(nn, self.activation)(x)
        return nn.Dense(self.out_size, kernel_init=kernel(self.out_scale))(x)


class Policy(nn.Module):
    """An MLP that returns a distribution of actions, see `distribution_of`.

    With a mask in the observation, forbidden actions have probability 0, see `forbid`.
    The last layer starts at gain 0.01, so that the first policy hardly depends on the
    observation (Engstrom et al. 2020; Andrychowicz et al. 2021, §3.2).
    """

    observation_space: Space
    action_space: Space
    hidden_sizes: Sequence[int]
    activation: str
    log_std_init: float
    state_dependent_std: bool
    orthogonal: bool = True
    masked: bool = False

    @nn.compact
    def __call__(self, observation: PyTree) -> Any:
        """Return the distribution of actions for observations `[..., *shape]`."""
        x = flatten_observation(self.observation_space, observation)

        def mlp(size: int, name: str) -> jax.Array:
            return MLP(
                self.hidden_sizes,
                size,
                self.activation,
                0.01,
                self.orthogonal,
                name=name,
            )(x)

        space = self.action_space
        size, scales = width_of(space), log_std_size(space)
        continuous = any(isinstance(leaf, Box) for leaf in leaves_of(space))
        name = "mean" if scales == size else "parts" if continuous else "logits"
        if continuous and self.state_dependent_std:
            outputs = mlp(size + scales, f"{name}_and_log_std")
            outputs, log_std = jnp.split(outputs, [size], axis=-1)
            return distribution_of(space, outputs, log_std + self.log_std_init)
        outputs = mlp(size, name)
        log_std = jnp.zeros(0)
        if continuous:
            init = nn.initializers.constant(self.log_std_init, jnp.float32)
            log_std = self.param("log_std", init, (scales,))
        log_std = jnp.broadcast_to(log_std, (*outputs.shape[:-1], scales))
        policy = distribution_of(space, outputs, log_std)
        return (
            forbid(space, policy, observation[ACTION_MASK]) if self.masked else policy
        )


class Critic(nn.Module):
    """An MLP that returns one value for each observation."""

    observation_space: Space
    hidden_sizes: Sequence[int]
    activation: str
    orthogonal: bool = True

    @nn.compact
    def __call__(self, observation: PyTree) -> jax.Array:
        """Return values `[...]` for observations `[..., *shape]`."""
        x = flatten_observation(self.observation_space, observation)
        mlp = MLP(self.hidden_sizes, 1, self.activation, 1.0, self.orthogonal)
        return mlp(x)[..., 0]
