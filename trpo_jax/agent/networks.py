"""Policies and critics: a network is a pair of pure functions, of any library."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from trpo_jax.agent.features import flatten_observation, width_of
from trpo_jax.agent.heads import distribution_of, forbid, log_std_size, mask_space
from trpo_jax.agent.initializers import orthogonal
from trpo_jax.agent.normalization import Normalizer, normalize_observation
from trpo_jax.config.network import ACTIVATION
from trpo_jax.environments.nested import leaves_of
from trpo_jax.environments.spaces import ACTION_MASK, Box, Dict, Space
from trpo_jax.solver.precision import widen
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
    """

    init: Callable[[jax.Array, PyTree], PyTree]
    apply: Callable[[PyTree, PyTree], Any]


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


def act(
    agent: Agent, policy_params: PyTree, normalizer: Normalizer, observation: PyTree
) -> Any:
    """Return the policy's distribution of actions for raw observations.

    Args:
        agent: its policy is applied.
        policy_params: parameters of the policy.
        normalizer: normalises the observations.
        observation: pytree with any leading axes, in units of the environment.

    Returns:
        A distribution with the leading axes of the observations.

    Example:
        ::

            policy = act(agent, state.policy_params, state.normalizer, observation)
            action = policy.sample(key)
    """
    observation = normalize_observation(normalizer, observation)
    return widen(agent.policy.apply(policy_params, observation))


def predict_value(
    agent: Agent, critic_params: PyTree, normalizer: Normalizer, observation: PyTree
) -> jax.Array:
    """Return the critic's values of raw observations, in units of the scaled reward.

    The values have the leading axes of the observations, whatever those are.
    """
    observation = normalize_observation(normalizer, observation)
    return widen(agent.critic.apply(critic_params, observation))


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
        observation_space: any space; see `flatten_observation` in `agent.features` for
            what the networks see of it. An entry `action_mask` of a dictionary is not
            seen but obeyed, see `mask_space` in `agent.heads`.
        action_space: any space; the policy's last layer has the outputs of all its
            parts, and `distribution_of` in `agent.heads` makes distributions of them.
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
        >>> from trpo_jax import Box, Discrete
        >>> agent = mlp_agent(Box.uniform((3,)), Discrete(2))
        >>> params = agent.policy.init(jax.random.key(0), jnp.zeros(3))
        >>> agent.policy.apply(params, jnp.zeros((5, 3))).logits.shape
        (5, 2)
    """
    check("activation", activation, ACTIVATION)
    for role, space in (("observation", observation_space), ("action", action_space)):
        if not isinstance(space, Space):
            raise ValueError(
                f"{role} space must be a Box, Discrete, MultiDiscrete, MultiBinary, "
                f"Tuple or Dict of trpo_jax; got {space!r}; bring your own Agent for "
                "other spaces"
            )
    masked = mask_space(observation_space, action_space) is not None
    if (
        masked
        and isinstance(observation_space, Dict)
        and len(observation_space.spaces) > 1
    ):
        seen = dict(observation_space.spaces)
        del seen[ACTION_MASK]
        observation_space = Dict(seen)
    policy = Policy(
        observation_space,
        action_space,
        tuple(hidden_sizes),
        activation,
        log_std_init,
        state_dependent_std,
        orthogonal_init,
        masked,
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
