"""Policies and critics: a network is a pair of pure functions, flax one way to it."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from trpo_jax.agent.distributions import Categorical, DiagonalGaussian
from trpo_jax.config import ACTIVATION
from trpo_jax.environments.base import Environment, observation_shapes
from trpo_jax.environments.host import HostEnvironment
from trpo_jax.environments.spaces import Box, Discrete, Space
from trpo_jax.validation import check

PyTree = Any

_ROWS = 1009  # a number of observations that no other axis is likely to have


class Network(NamedTuple):
    """A pair of pure functions.

    Attributes:
        init: `init(key, observation)` → parameters, any pytree of floating-point
            arrays; `key` is consumed, `observation` is one observation, for its shape.
        apply: `apply(params, observation)` → a distribution (policy) or values
            (critic), for observations with any leading axes.

    Any library fits. Flax linen: `Network(module.init, module.apply)`. Of a module that
    holds its own arrays (Equinox, NNX), `init` makes one with its key and returns the
    arrays, `apply` puts them back and calls it; one that takes a single observation
    goes through `jnp.vectorize` with a signature, for the leading axes.
    """

    init: Callable[[jax.Array, PyTree], PyTree]
    apply: Callable[[PyTree, PyTree], Any]


class Agent(NamedTuple):
    """A policy and a critic; their parameters live in two separate pytrees."""

    policy: Network
    critic: Network


@functools.cache
def orthogonal(gain: float) -> Callable[..., jax.Array]:
    """Return an initialiser of kernels with orthonormal columns (or rows) times `gain`.

    X ← X (3 I − XᵀX) / 2 from a Gaussian matrix (Björck & Bowie 1971). Its limit, the
    polar factor, is as evenly spread over the orthogonal matrices as the Q of a QR
    decomposition, since a Gaussian matrix has no preferred basis.

    Unlike `jax.nn.initializers.orthogonal` it consists of matrix products alone. Two QR
    decompositions of batches, which `vmap` over seeds makes of them, wait for each
    other for ever on a CPU of two cores (jaxlib 0.10.1).

    Args:
        gain: of the kernel, whose last axis is its outputs.

    Example:
        >>> kernel = orthogonal(2.0)(jax.random.key(0), (8, 3))
        >>> bool(jnp.allclose(kernel.T @ kernel, 4.0 * jnp.eye(3), atol=1e-5))
        True
    """

    # Flax asks for the shape at every call of the network: traced once, and known then.
    @functools.partial(jax.jit, static_argnums=(1, 2))
    def traced(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        inputs, outputs = math.prod(shape[:-1]), shape[-1]
        tall = max(inputs, outputs), min(inputs, outputs)
        x = jax.random.normal(key, tall)
        multiply = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)

        def improve(_: int, x: jax.Array) -> jax.Array:
            return 1.5 * x - 0.5 * multiply(x, multiply(x.T, x))

        # Sixty: a singular value of 1e-9 grows by half each time, then converges.
        x = jax.lax.fori_loop(0, 60, improve, x / jnp.linalg.norm(x))
        return (gain * (x if inputs >= outputs else x.T)).reshape(shape).astype(dtype)

    def init(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Any:
        return traced(key, tuple(shape), dtype)

    return init


class MLP(nn.Module):
    """A multi-layer perceptron with zero biases.

    Attributes:
        hidden_sizes: widths of the hidden layers; none gives a linear map.
        out_size: width of the output.
        activation: the name of one in flax, as in `config.Activation`.
        out_scale: gain of the last layer; hidden layers have √2.
        orthogonal: start with orthogonal kernels of these gains; otherwise with
            Gaussian ones of variance 1/fan-in.
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
            "log_std", nn.initializers.constant(self.log_std_init), (size,)
        )
        return DiagonalGaussian(mean, jnp.broadcast_to(log_std, mean.shape))


class Critic(nn.Module):
    """An MLP that returns one value an observation."""

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
        hidden_sizes: of the policy; `()` is a linear policy.
        critic_hidden_sizes: of the critic; those of the policy when None.
        activation: as in `config.Activation`.
        log_std_init: log σ that a continuous policy starts with; an action of ±1
            reaches the bounds of a bounded action space.
        orthogonal_init: start with orthogonal kernels and an almost constant policy.
        state_dependent_std: let the network give log σ too, for each observation.

    Returns:
        An `Agent`, whose policy gives distributions and whose critic values `[...]`.

    Raises:
        ValueError: for an unknown activation or a space that is neither.

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


def check_agent(agent: Agent, environment: Environment | HostEnvironment) -> None:
    """Refuse an agent that does not fit, before anything is compiled.

    What policy and critic give is traced for a batch of observations and held against
    the environment. `train` does this with an agent of your own.

    Raises:
        ValueError: with what is wrong.

    Example:
        >>> from trpo_jax import make_environment
        >>> environment = make_environment("CartPole-v1")
        >>> three = mlp_agent(environment.observation_space, Discrete(3))
        >>> check_agent(three, environment)
        Traceback (most recent call last):
        ValueError: the policy must choose among 2 actions; it has 3 logits
    """
    if not isinstance(agent, Agent):
        raise ValueError(f"agent must be a trpo_jax.Agent; got {agent!r}")
    key = jax.random.key(0)
    observation = observation_shapes(environment)
    rows = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((_ROWS, *leaf.shape), leaf.dtype), observation
    )

    def outcome(network: Network, of: Callable[[Any], Any] = lambda x: x) -> Any:
        params = jax.eval_shape(network.init, key, observation)
        return jax.eval_shape(lambda p, x: of(network.apply(p, x)), params, rows)

    value = outcome(agent.critic)
    if getattr(value, "shape", None) != (_ROWS,):
        raise ValueError(
            f"the critic must give one value an observation, shape ({_ROWS},) for "
            f"{_ROWS} of them; got {getattr(value, 'shape', value)}"
        )
    policy = outcome(agent.policy)
    methods = ("sample", "log_prob", "entropy", "mode", "kl", "fisher_product")
    for name in methods:
        if not hasattr(policy, name):
            raise ValueError(
                f"the policy must give a distribution with {', '.join(methods)}, as "
                f"trpo_jax.Categorical has; got {type(policy).__name__} without {name}"
            )
    ragged = [x.shape for x in jax.tree.leaves(policy) if x.shape[:1] != (_ROWS,)]
    if ragged:
        raise ValueError(
            f"every array of the policy's distribution must lead with the {_ROWS} rows "
            f"of {_ROWS} observations: broadcast the smaller ones; got {ragged[0]}"
        )
    space = environment.action_space
    choices = policy.logits.shape[-1] if isinstance(policy, Categorical) else None
    if isinstance(space, Discrete) and choices not in (None, space.n):
        raise ValueError(
            f"the policy must choose among {space.n} actions; it has {choices} logits"
        )
    numbers = math.prod(space.shape) if isinstance(space, Box) else 1
    action = outcome(agent.policy, lambda policy: policy.sample(key))
    shape = getattr(action, "shape", None)
    if isinstance(space, Box | Discrete) and (
        shape is None or math.prod(shape) != _ROWS * numbers
    ):
        raise ValueError(
            f"the policy's actions must have {numbers} numbers, as the action space; "
            f"for {_ROWS} observations they have shape {shape}"
        )
