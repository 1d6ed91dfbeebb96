"""Policies and critics: a network is a pair of pure functions, of any library."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import optax

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


class Heads(NamedTuple):
    """What one network computes for an observation when policy and value share it.

    Attributes:
        policy: a distribution of actions.
        value: `[...]`, one value for each observation.
        auxiliary: by name, the distribution of anything else that the network is to
            predict; `Batch.auxiliary` holds what happened instead.
    """

    policy: Any
    value: jax.Array
    auxiliary: Mapping[str, Any] = {}


class Agent(NamedTuple):
    """A policy and a critic: two networks with two pytrees of parameters, or one.

    If one network computes both (`heads`, see `shared_agent`), all parameters are those
    of the policy, and the critic has none of its own.

    Attributes:
        policy: observations → a distribution of actions.
        critic: observations → values.
        critic_optimizer: an element-wise optax transformation that returns directions
            of unit step size; `config.critic_learning_rate` scales them.
        heads: observations → `Heads`, or None if the networks are separate.
        auxiliary_max_kl: ε > 0 in nats for each auxiliary head, what `critic_max_kl` is
            for the value.
    """

    policy: Network
    critic: Network
    critic_optimizer: optax.GradientTransformation = optax.scale_by_adam()
    heads: Network | None = None
    auxiliary_max_kl: Mapping[str, float] = {}

    @property
    def remembers(self) -> bool:
        """Whether the policy or the critic has a memory."""
        return any(each.initial_memory for each in (self.policy, self.critic))


def shared_agent(
    network: Network, *, auxiliary_max_kl: Mapping[str, float] | None = None
) -> Agent:
    """Build an agent whose policy and critic are one network.

    It is trained with `critic_method` "joint": one step within one trust region for
    everything that the network computes.

    Args:
        network: its `apply` returns `Heads`.
        auxiliary_max_kl: ε > 0 in nats for each auxiliary head: how far the head may
            move in an update, if nothing else did.

    Returns:
        An `Agent`.

    Example:
        >>> import jax.numpy as jnp
        >>> from trpo_jax import Categorical
        >>> def apply(params, observation):
        ...     features = jnp.tanh(observation @ params["trunk"])
        ...     value = jnp.sum(features, axis=-1)
        ...     return Heads(Categorical(features @ params["policy"]), value)
        >>> agent = shared_agent(Network(lambda key, observation: {}, apply))
        >>> params = {"trunk": jnp.ones((3, 4)), "policy": jnp.ones((4, 2))}
        >>> agent.critic.apply(params, jnp.zeros((5, 3))).shape
        (5,)
    """

    def head(name: str) -> Callable[..., Any]:
        def apply(params: PyTree, *inputs: PyTree) -> Any:
            if network.initial_memory is None:
                return getattr(network.apply(params, *inputs), name)
            heads, memory = network.apply(params, *inputs)
            return getattr(heads, name), memory

        return apply

    memory = network.initial_memory
    return Agent(
        policy=Network(network.init, head("policy"), memory),
        critic=Network(lambda key, x: (), head("value"), memory),
        heads=network,
        auxiliary_max_kl=auxiliary_max_kl or {},
    )


def check_one_value_per_row(value: Any, rows: tuple[int, ...]) -> None:
    """Raise a ValueError unless what a critic returned has this shape."""
    shape = getattr(value, "shape", value)
    if shape != rows:
        raise ValueError(
            f"the critic must return one value for each row, shape {rows}; got {shape}"
        )
