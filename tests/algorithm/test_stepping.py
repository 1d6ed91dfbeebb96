"""Stepping a batch of environments: every new episode is that of its own key."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import Clock, assert_identical

from trpo_jax.algorithm.stepping import step_and_reset


class ExpensiveClock(Clock):
    expensive_reset = True


@pytest.mark.parametrize("kind", [Clock, ExpensiveClock])
@pytest.mark.parametrize("ending", [0.0, 0.1, 0.9, 1.0])
def test_each_environment_is_reset_with_its_own_key_where_it_ended(kind, ending):
    """Clock ends after three steps; the oracle is a loop over the environments."""
    size, clock = 40, kind()
    start, _ = jax.vmap(clock.reset)(jax.random.split(jax.random.key(0), size))
    late = np.random.default_rng(0).random(size) < ending
    start = start._replace(time=jnp.where(late, 2.0, 0.0))
    step_keys, reset_keys = jax.random.split(jax.random.key(1), (2, size))
    cut = jnp.arange(size) % 7 == 0
    env_state, observation, step = jax.jit(
        lambda *a: step_and_reset(clock, *a, truncate=cut)
    )(step_keys, reset_keys, start, jnp.zeros(size, jnp.int32))
    for i in range(size):
        one = jax.tree.map(lambda leaf, i=i: leaf[i], (start, env_state, observation))
        after = clock.step(step_keys[i], one[0], jnp.int32(0))
        ended = late[i] or cut[i]
        assert bool(step.terminated[i] | step.truncated[i]) == ended
        new = clock.reset(reset_keys[i]) if ended else after[:2]
        assert_identical(one[1:], new)
        assert_identical(step.observation[i], after.observation)
