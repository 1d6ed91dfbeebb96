"""Networks with a memory: one step, whole sequences, and where episodes begin.

Shapes: `T` time steps lead, then `B` environments; sequences that an update draws from
lead with `B`, so that a row of them is a whole sequence.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from flax import struct

PyTree = Any


class Remembering(Protocol):
    """What is needed of a `Network` here."""

    @property
    def apply(self) -> Callable[..., Any]:
        """See `Network`."""

    @property
    def initial_memory(self) -> Callable[[], PyTree] | None:
        """See `Network`."""


class Memory(NamedTuple):
    """The memories of policy and critic; an empty one stays empty.

    Attributes:
        policy: pytree of `[B, ...]`.
        critic: pytree of `[B, ...]`; empty where policy and critic are one network,
            whose only memory is the policy's.
    """

    policy: PyTree = ()
    critic: PyTree = ()


class Sequences(struct.PyTreeNode):
    """What networks with a memory see instead of rows of observations.

    Attributes:
        observation: pytree of `[B, T, ...]`.
        memory: `Memory` `[B, ...]` before the first row.
        first: `[B, T]` bool, whether an episode begins with this row.
        rows: `[B, M]` int32, the times to return outputs of; all of them with None.
    """

    observation: PyTree
    memory: Memory
    first: jax.Array
    rows: jax.Array | None = None

    def through(self, network: Remembering, params: PyTree, memory: PyTree) -> Any:
        """Return the outputs `[B, M, ...]` of a network, which has this memory."""
        observation, first = jax.tree.map(
            swap_first_axes, (self.observation, self.first)
        )
        output, _ = replay(network, params, observation, memory, first)
        output = jax.tree.map(swap_first_axes, output)
        if self.rows is None:
            return output
        pick = jax.vmap(lambda leaf, rows: leaf[rows])
        return jax.tree.map(lambda leaf: pick(leaf, self.rows), output)


def recur(
    cell: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]],
    memory: PyTree,
    inputs: PyTree,
    first: jax.Array,
    initial_memory: PyTree,
) -> tuple[PyTree, PyTree]:
    """Run a recurrent cell along time, and begin anew where an episode does.

    This is what `Network.apply` does with a memory; write your own with it.

    Args:
        cell: memory `[B, ...]` and inputs `[B, ...]` → outputs `[B, ...]` and the next
            memory.
        memory: pytree of `[B, ...]`, before the first row.
        inputs: pytree of `[T, B, ...]`.
        first: `[T, B]` bool; where it is True, the memory before the row is replaced.
        initial_memory: pytree of `[...]`, what it is replaced by.

    Returns:
        Outputs `[T, B, ...]`, and the memory after each row `[T, B, ...]`.

    Example:
        >>> count = lambda memory, x: (memory + x, memory + x)
        >>> first = jnp.array([[False], [False], [True], [False]])
        >>> total, _ = recur(count, jnp.array([10]), jnp.ones((4, 1), int), first, 0)
        >>> total[:, 0].tolist()
        [11, 12, 1, 2]
    """

    def step(memory: PyTree, row: Any) -> tuple[PyTree, Any]:
        x, begins = row
        output, memory = cell(begin_anew(begins, memory, initial_memory), x)
        return memory, (output, memory)

    _, outputs = jax.lax.scan(step, memory, (inputs, first))
    return outputs


def first_memory(network: Remembering, batch: int) -> PyTree:
    """Return the memory with which episodes begin, `[B, ...]`; empty without one."""
    if network.initial_memory is None:
        return ()
    one = network.initial_memory()
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (batch, *leaf.shape)), one)


def restart(network: Remembering, memory: PyTree, ended: jax.Array) -> PyTree:
    """Return the memory `[B, ...]`, anew where an episode has ended, `[B]` bool."""
    if network.initial_memory is None or not jax.tree.leaves(memory):
        return memory
    return begin_anew(ended, memory, network.initial_memory())


def replay(
    network: Remembering,
    params: PyTree,
    observation: PyTree,
    memory: PyTree,
    first: jax.Array | None,
) -> tuple[Any, PyTree]:
    """Return outputs and memories `[T, B, ...]` for observations `[T, B, ...]`.

    A network without a memory is applied as it is, and its memory stays empty.

    The memory `[B, ...]` is the one before the first row, and `first` `[T, B]` is True
    where an episode begins. Numbers that are not finite are seen as 0 here, when acting
    and when learning, since a memory would keep them for the rest of the episode. The
    rows in which they came are left out when learning.
    """
    if network.initial_memory is None:
        return network.apply(params, observation), memory

    def finite(leaf: jax.Array) -> jax.Array:
        is_float = jnp.issubdtype(leaf.dtype, jnp.floating)
        return jnp.where(jnp.isfinite(leaf), leaf, 0) if is_float else leaf

    return network.apply(params, jax.tree.map(finite, observation), memory, first)


def step_once(
    network: Remembering, params: PyTree, observation: PyTree, memory: PyTree
) -> tuple[Any, PyTree]:
    """Return the output for one time step, and the memory after it.

    Observation and memory have the same leading axes, whatever those are. A network
    without a memory is applied as it is.
    """
    if network.initial_memory is None:
        return network.apply(params, observation), memory
    one = jax.tree.leaves(network.initial_memory())[0]
    remembered = jax.tree.leaves(memory)[0]
    leading = remembered.shape[: remembered.ndim - one.ndim]

    def flat(leaf: jax.Array) -> jax.Array:
        return leaf.reshape(-1, *leaf.shape[len(leading) :])

    observation, memory = jax.tree.map(flat, (observation, memory))
    now = jax.tree.map(lambda leaf: leaf[None], observation)
    first = jnp.zeros((1, *jax.tree.leaves(memory)[0].shape[:1]), bool)
    after = replay(network, params, now, memory, first)
    return jax.tree.map(lambda leaf: leaf.reshape(*leading, *leaf.shape[2:]), after)


def begin_anew(begins: jax.Array, memory: PyTree, initial_memory: PyTree) -> PyTree:
    """Return the memory `[B, ...]`, replaced by `[...]` where `[B]` bool says so."""

    def choose(old: jax.Array, new: jax.Array) -> jax.Array:
        mask = jax.lax.expand_dims(begins, range(begins.ndim, old.ndim))
        return jnp.where(mask, jnp.broadcast_to(new, old.shape), old)

    return jax.tree.map(choose, memory, initial_memory)


def swap_first_axes(leaf: jax.Array) -> jax.Array:
    """Turn `[T, B, ...]` into `[B, T, ...]`, and back."""
    return jnp.swapaxes(leaf, 0, 1)
