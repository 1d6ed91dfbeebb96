"""Large parameters take another way than small ones: the numbers are the same."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import assert_close, assert_identical, improve_policy
from jax.flatten_util import ravel_pytree

from trpo_jax.agent.standard_agents import default_agent
from trpo_jax.algorithm.batch import Batch
from trpo_jax.algorithm.critic import fit_critic
from trpo_jax.config import Config
from trpo_jax.environments.spaces import Box
from trpo_jax.solver import flat
from trpo_jax.solver.conjugate_gradient import cg_solve


def tree_of(width):
    keys = jax.random.split(jax.random.key(0), 3)
    return {
        "b": jax.random.normal(keys[0], (width,)),
        "w": jax.random.normal(keys[1], (width, width)),
        "z": jax.random.normal(keys[2], ()),
    }


@pytest.mark.parametrize("width", [3, 300])
def test_a_vector_is_overwritten_in_the_order_of_ravel_pytree(width):
    tree = tree_of(width)
    vector, _ = ravel_pytree(tree)
    found = jax.jit(flat.ravel_into)(jnp.full_like(vector, jnp.nan), tree)
    assert_identical(found, vector)


def test_a_large_tree_stays_a_tree_and_a_small_one_becomes_a_vector():
    small, large = tree_of(3), tree_of(300)
    vector, back = flat.ravel_if_small(small)
    assert_identical(vector, ravel_pytree(small)[0])
    assert_identical(back(vector), small)
    same, back = flat.ravel_if_small(large)
    assert_identical(back(same), large)


SPACE = Box.uniform((3,), -1, 1)
AGENT = default_agent(SPACE, SPACE, hidden_sizes=(5, 4))


def solved():
    tree = tree_of(4)
    scale = jax.tree.map(lambda x: 1 + jnp.abs(x), tree)
    return cg_solve(lambda v: jax.tree.map(jnp.multiply, scale, v), tree, iterations=30)


def improved():
    keys = jax.random.split(jax.random.key(1), 3)
    rows = Batch(
        observation=jax.random.normal(keys[0], (40, 3)),
        action=jax.random.normal(keys[1], (40, 3)),
        advantage=jax.random.normal(keys[2], (40,)),
        value_target=jnp.zeros(40),
        weight=jnp.ones(40),
    )
    params = AGENT.policy.init(jax.random.key(2), jnp.zeros(3))
    return improve_policy(jax.random.key(3), AGENT.policy.apply, params, rows, Config())


def fitted():
    x = jax.random.normal(jax.random.key(4), (64, 3))
    params = AGENT.critic.init(jax.random.key(5), x[0])
    optimizer = optax.scale_by_adam()
    return fit_critic(
        jax.random.key(6),
        AGENT.critic.apply,
        params,
        optimizer,
        optax.flatten(optimizer).init(params),
        x,
        x.sum(-1),
        jnp.ones(64),
        learning_rate=1e-2,
        epochs=3,
        minibatch_size=16,
    )


@pytest.mark.parametrize("work", [solved, improved, fitted])
def test_the_numbers_do_not_depend_on_the_way(work, monkeypatch):
    small = work()
    monkeypatch.setattr(flat, "_LARGE", 0)
    assert_close(
        jax.tree.map(np.asarray, work()), jax.tree.map(np.asarray, small), rtol=1e-4
    )
