"""The layers of the standard agent: multi-layer perceptrons and their heads."""

import math
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from trpo_jax.agent.distributions import Categorical, DiagonalGaussian
from trpo_jax.agent.initializers import orthogonal
from trpo_jax.environments.spaces import Box, Discrete, Space


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
    """An MLP that returns a `Categorical` or a `DiagonalGaussian`.

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

    @nn.compact
    def __call__(self, observation: jax.Array) -> Categorical | DiagonalGaussian:
        """Return the distribution of actions for observations `[..., *shape]`."""
        x = _flatten(self.observation_space, observation)

        def mlp(size: int, name: str) -> jax.Array:
            return MLP(
                self.hidden_sizes,
                size,
                self.activation,
                0.01,
                self.orthogonal,
                name=name,
            )(x)

        if isinstance(self.action_space, Discrete):
            return Categorical(mlp(self.action_space.n, "logits"))
        size = math.prod(self.action_space.shape)
        if self.state_dependent_std:
            mean, log_std = jnp.split(mlp(2 * size, "mean_and_log_std"), 2, axis=-1)
            return DiagonalGaussian(mean, log_std + self.log_std_init)
        mean = mlp(size, "mean")
        log_std = self.param(
            "log_std",
            nn.initializers.constant(self.log_std_init, jnp.float32),
            (size,),
        )
        return DiagonalGaussian(mean, jnp.broadcast_to(log_std, mean.shape))


class Critic(nn.Module):
    """An MLP that returns one value for each observation."""

    observation_space: Space
    hidden_sizes: Sequence[int]
    activation: str
    orthogonal: bool = True

    @nn.compact
    def __call__(self, observation: jax.Array) -> jax.Array:
        """Return values `[...]` for observations `[..., *shape]`."""
        x = _flatten(self.observation_space, observation)
        mlp = MLP(self.hidden_sizes, 1, self.activation, 1.0, self.orthogonal)
        return mlp(x)[..., 0]


class PolicyAndCritic(nn.Module):
    """A policy and a critic that are linear functions of the same hidden layers.

    Attributes:
        alone: the policy that has these hidden layers to itself.
    """

    alone: Policy

    @nn.compact
    def __call__(
        self, observation: jax.Array
    ) -> tuple[Categorical | DiagonalGaussian, jax.Array]:
        """Return distributions and values `[...]` for observations `[..., *shape]`."""
        shape, x = self.alone, _flatten(self.alone.observation_space, observation)
        if shape.hidden_sizes:
            *widths, last = shape.hidden_sizes
            trunk = MLP(
                widths,
                last,
                shape.activation,
                math.sqrt(2),
                shape.orthogonal,
                name="trunk",
            )
            x = getattr(nn, shape.activation)(trunk(x))
        features = Box.uniform(x.shape[-1:])
        policy = shape.clone(
            observation_space=features, hidden_sizes=(), parent=self, name="policy"
        )
        critic = Critic(features, (), shape.activation, shape.orthogonal, name="critic")
        return policy(x), critic(x)


def _flatten(space: Space, observation: jax.Array) -> jax.Array:
    """Return `[..., D]` floats: integers one-hot, boxes flattened."""
    if isinstance(space, Discrete):
        return jax.nn.one_hot(observation, space.n)
    leading = observation.shape[: observation.ndim - len(space.shape)]
    return observation.reshape(*leading, -1).astype(jnp.float32)
