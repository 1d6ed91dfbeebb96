"""Policies and critics: a network is a pair of pure functions, of any library."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from trpo_jax.agent.distributions import Categorical, DiagonalGaussian
from trpo_jax.agent.initializers import orthogonal
from trpo_jax.config.network import ACTIVATION
from trpo_jax.environments.spaces import Box, Discrete, Space
from trpo_jax.validation import check

PyTree = Any


class Network(NamedTuple):
    """A pair of pure functions.

    Any library fits. For flax linen it is `Network(module.init, module.apply)`. For a
    module that holds its own arrays (Equinox, NNX), let `init` create one and return
    its arrays, and let `apply` put them back and call it. Wrap a module that takes a
    single observation in `jnp.vectorize` with a signature, for the leading axes.

    Attributes:
        init: `init(key, observation)` → parameters, any pytree of floating-point
            arrays; `key` is consumed, `observation` is one observation, for its shape.
        apply: `apply(params, observation)` → a distribution (policy) or values
            (critic), for observations with any leading axes. Both may be of half
            precision: what follows is computed in float32, the steps of half-precision
            parameters too, which are rounded at the end.
        initial_memory: `initial_memory()` → what the network remembers when an episode
            begins, a pytree of arrays of one environment; None for networks without a
            memory. With one, `apply(params, observation, memory, first)` is given
            observations `[T, B, ...]`, the memory `[B, ...]` before the first of them,
            and `first` `[T, B]`, which is True where an episode begins, so that the
            memory is to be replaced before that row, see `recur`. It returns the
            outputs `[T, B, ...]` and the memory after each row, `[T, B, ...]`.
    """

    init: Callable[[jax.Array, PyTree], PyTree]
    apply: Callable[..., Any]
    initial_memory: Callable[[], PyTree] | None = None


class Agent(NamedTuple):
    """A policy and a critic, whose parameters are two separate pytrees.

    Attributes:
        policy: observations → a distribution of actions.
        critic: observations → values.
        critic_optimizer: an element-wise optax transformation that returns directions
            of unit step size; `config.critic_learning_rate` scales them.
    """

    policy: Network
    critic: Network
    critic_optimizer: optax.GradientTransformation = optax.scale_by_adam()

    @property
    def remembers(self) -> bool:
        """Whether the policy or the critic has a memory."""
        return any(each.initial_memory for each in (self.policy, self.critic))


def check_one_value_per_row(value: Any, rows: tuple[int, ...]) -> None:
    """Raise a ValueError unless what a critic returned has this shape."""
    shape = getattr(value, "shape", value)
    if shape != rows:
        raise ValueError(
            f"the critic must return one value for each row, shape {rows}; got {shape}"
        )


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


def _flatten(space: Space, observation: jax.Array) -> jax.Array:
    """Return `[..., D]` floats: integers one-hot, boxes flattened."""
    if isinstance(space, Discrete):
        return jax.nn.one_hot(observation, space.n)
    leading = observation.shape[: observation.ndim - len(space.shape)]
    return observation.reshape(*leading, -1).astype(jnp.float32)


def mlp_agent(
    observation_space: Space,
    action_space: Space,
    *,
    hidden_sizes: Sequence[int] = (64, 64),
    critic_hidden_sizes: Sequence[int] | None = None,
    activation: str = "tanh",
    log_std_init: float = 0.0,
    orthogonal_init: bool = True,
    state_dependent_std: bool = False,
) -> Agent:
    """Build the standard agent: two separate multi-layer perceptrons.

    Args:
        observation_space: `Box` (flattened) or `Discrete` (one-hot).
        action_space: `Discrete` gives a `Categorical`, `Box` a `DiagonalGaussian`.
        hidden_sizes: widths of the policy's hidden layers; `()` is a linear policy.
        critic_hidden_sizes: widths of the critic's; those of the policy when None.
        activation: "tanh", "relu", "elu", "silu" or "gelu".
        log_std_init: log σ that a continuous policy starts with; an action of ±1
            reaches the bounds of a bounded action space.
        orthogonal_init: use orthogonal kernels and an almost constant first policy.
        state_dependent_std: let the network compute log σ for each observation.

    Returns:
        An `Agent`, whose policy returns distributions and whose critic values `[...]`.

    Raises:
        ValueError: for an unknown activation, or a space of another kind.

    Example:
        >>> agent = mlp_agent(Box.uniform((3,)), Discrete(2))
        >>> params = agent.policy.init(jax.random.key(0), jnp.zeros(3))
        >>> agent.policy.apply(params, jnp.zeros((5, 3))).logits.shape
        (5, 2)
    """
    check("activation", activation, ACTIVATION)
    for role, space in (("observation", observation_space), ("action", action_space)):
        if not isinstance(space, Box | Discrete):
            raise ValueError(
                f"{role} space must be a Box or a Discrete; got {space!r}; bring your "
                "own Agent for other spaces"
            )
    policy = Policy(
        observation_space,
        action_space,
        tuple(hidden_sizes),
        activation,
        log_std_init,
        state_dependent_std,
        orthogonal_init,
    )
    critic = Critic(
        observation_space,
        tuple(hidden_sizes if critic_hidden_sizes is None else critic_hidden_sizes),
        activation,
        orthogonal_init,
    )
    return Agent(
        policy=Network(policy.init, policy.apply),
        critic=Network(critic.init, critic.apply),
    )
