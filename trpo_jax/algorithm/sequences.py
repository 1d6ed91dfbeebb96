"""Batches for agents with a memory: whole sequences in the place of rows.

Shapes: `[T, B]` time steps and environments lead when a batch is made; in an update
`B` whole sequences do, or `N` rows.
"""

from typing import Any

import jax
import jax.numpy as jnp

from trpo_jax.agent.memory import Sequences, swap_first_axes
from trpo_jax.agent.normalization import Normalizer, normalize_observation
from trpo_jax.algorithm.masking import only_valid
from trpo_jax.algorithm.subsampling import subsample_rows

PyTree = Any


def sequences_of(batch: Any, rows: jax.Array | None = None) -> Sequences:
    """Return the observations of a batch `[T, B]` as `Sequences`."""
    observation, first = jax.tree.map(swap_first_axes, (batch.observation, batch.first))
    return Sequences(observation, batch.memory, first, rows)


def normalized(normalizer: Normalizer, observation: PyTree) -> PyTree:
    """Normalise observations, also those within `Sequences`."""
    if not isinstance(observation, Sequences):
        return normalize_observation(normalizer, observation)
    inner = normalize_observation(normalizer, observation.observation)
    return observation.replace(observation=inner)


def draw_rows(key: jax.Array, batch: Any, fraction: float) -> Any:
    """Draw a fraction of the rows of a flattened batch, see `subsample_rows`.

    Of `Sequences`, whole ones are drawn, at least four if there are so many.
    """
    if not isinstance(batch.observation, Sequences):
        return subsample_rows(key, batch, fraction)
    number = len(batch.observation.first)
    fraction = max(fraction, min(1.0, 4 / number))
    return take_rows(subsample_rows(key, jnp.arange(number), fraction), batch)


def take_rows(index: jax.Array, batch: Any) -> Any:
    """Return some rows of a flattened batch, or some whole sequences.

    The batch is a pytree whose leaves lead with the rows; its observations, alone, may
    be `Sequences`.
    """

    def take(part: PyTree) -> PyTree:
        if isinstance(part, Sequences):
            return jax.tree.map(lambda leaf: leaf[index], part)
        chosen = part.reshape(number, -1, *part.shape[1:])[index]
        return chosen.reshape(-1, *part.shape[1:])

    def is_whole(part: PyTree) -> bool:
        return isinstance(part, Sequences)

    whole = [x for x in jax.tree.leaves(batch, is_leaf=is_whole) if is_whole(x)]
    if not whole:
        return jax.tree.map(lambda leaf: leaf[index], batch)
    number = len(whole[0].first)
    return jax.tree.map(take, batch, is_leaf=is_whole)


def whole_rows(batch: Any, minibatch_size: int) -> tuple[Any, Any, Any, int]:
    """Return value, target and weight as a critic answers, and rows of a minibatch.

    They are `[N]`, but `[B, T]` for `Sequences`, of which a minibatch has whole ones.
    """
    columns = batch.value, batch.value_target, batch.weight
    if isinstance(batch.observation, Sequences):
        shape = batch.observation.first.shape
        columns = jax.tree.map(lambda x: x.reshape(shape), columns)
        minibatch_size = max(1, minibatch_size // shape[1])
    return *columns, minibatch_size


def flatten_rows(
    batch: Any, weight: jax.Array, sequences: Sequences | None = None
) -> Any:
    """Join the leading axes `[T, B]` of a batch, and put zeros into rows of weight 0.

    A NaN in a row that does not count must not reach a gradient. With sequences, they
    take the place of the observations, and the rows of a sequence stay together.
    """
    if sequences is not None:
        batch = jax.tree.map(swap_first_axes, batch.replace(observation=None))
        weight = weight.T
    batch = jax.tree.map(
        lambda leaf: leaf.reshape(weight.size, *leaf.shape[2:]),
        only_valid(weight > 0, batch),
    )
    return batch if sequences is None else batch.replace(observation=sequences)
