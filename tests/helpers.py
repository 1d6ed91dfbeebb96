"""What several test files need: comparing pytrees, and small agents."""

import jax
import jax.numpy as jnp
import numpy as np

from trpo_jax.networks import Agent, Network


def raw(leaf):
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf)


def assert_identical(actual, expected):
    """Same structure, shapes, types and bits: NaN equals NaN, −0 differs from 0."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for left, right in zip(jax.tree.leaves(actual), jax.tree.leaves(expected)):
        left, right = raw(left), raw(right)
        assert left.shape == right.shape
        assert left.dtype == right.dtype
        assert left.tobytes() == right.tobytes()


def assert_close(actual, expected, rtol=1e-5, atol=1e-6):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for left, right in zip(jax.tree.leaves(actual), jax.tree.leaves(expected)):
        np.testing.assert_allclose(raw(left), raw(right), rtol=rtol, atol=atol)


def differ(left, right):
    pairs = zip(jax.tree.leaves(left), jax.tree.leaves(right))
    return any(raw(a).tobytes() != raw(b).tobytes() for a, b in pairs)


def is_finite(tree):
    numbers = (raw(leaf) for leaf in jax.tree.leaves(tree))
    return all(np.isfinite(leaf).all() for leaf in numbers)


def linear_critic():
    """A bring-your-own critic: an ordinary function on an ordinary dictionary."""

    def init(key, observation):
        del key
        return {"slope": jnp.zeros(observation.shape), "offset": jnp.zeros(())}

    def apply(params, observation):
        return observation @ params["slope"] + params["offset"]

    return Network(init, apply)


def linear_policy(head):
    """A bring-your-own policy: `head` makes a distribution of `observation @ matrix`."""

    def init(key, observation):
        return jax.random.normal(key, (*observation.shape, 2))

    def apply(params, observation):
        return head(observation @ params)

    return Network(init, apply)


def linear_agent(head):
    return Agent(policy=linear_policy(head), critic=linear_critic())
