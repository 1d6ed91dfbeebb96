"""Oracle: the one categorical distribution over all joint actions."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, assert_identical

from trpo_jax.agent.distributions import Categorical, DiagonalGaussian
from trpo_jax.agent.product import Product

pytestmark = pytest.mark.usefixtures("quick_compilation")

ROWS, SIZES = 4, (2, 3, 4)


class Stick(NamedTuple):
    vertical: Categorical
    horizontal: Categorical
    fire: Categorical


def random_stick(seed):
    rng = np.random.default_rng(seed)
    logits = [jnp.asarray(rng.normal(size=(ROWS, n))) for n in SIZES]
    return Product(Stick(*map(Categorical, logits)))


def outer(logits):
    """Return the logits of all joint actions, `[ROWS, 24]`."""
    a, b, c = logits
    sums = a[:, :, None, None] + b[:, None, :, None] + c[:, None, None, :]
    return sums.reshape(ROWS, -1)


def logits_of(product):
    return [part.logits for part in product.parts]


def test_categorical_parts_are_one_categorical_of_the_outer_product(x64):
    p, q = random_stick(0), random_stick(1)
    action = p.sample(jax.random.key(0))
    index = jnp.asarray(np.ravel_multi_index(action, SIZES))

    @jax.jit
    def facts(p, q):
        one, other = Categorical(outer(logits_of(p))), Categorical(outer(logits_of(q)))
        # F of the parts' logits is Jᵀ F J of the joint ones.
        _, tangent = jax.jvp(outer, (logits_of(p),), (logits_of(q),))
        _, pull_back = jax.vjp(outer, logits_of(p))
        (product,) = pull_back(one.fisher_product(Categorical(tangent)).logits)
        return (
            (p.kl(q), p.entropy(), p.log_prob(action), logits_of(p.fisher_product(q))),
            (one.kl(other), one.entropy(), one.log_prob(index), product),
        )

    assert_close(*facts(p, q), rtol=1e-10, atol=1e-12)


def test_mode_and_samples_have_the_structure_of_the_parts():
    p = random_stick(0)
    assert isinstance(p.mode(), Stick)
    assert_identical(p.mode().fire, p.parts.fire.mode())
    action = p.sample(jax.random.key(3))
    assert isinstance(action, Stick)
    keys = jax.random.split(jax.random.key(3), 3)
    for part, drawn, key in zip(p.parts, action, keys, strict=True):
        assert_identical(drawn, part.sample(key))


def test_equal_parts_are_drawn_independently():
    coin = Categorical(jnp.zeros((20_000, 2)))
    one, other = Product((coin, coin)).sample(jax.random.key(0))
    assert abs(np.corrcoef(one, other)[0, 1]) < 5 / np.sqrt(20_000)


def test_parts_may_be_products_and_differ_in_precision(x64):
    coin = Categorical(jnp.zeros((2, 2), jnp.bfloat16))
    arm = DiagonalGaussian(jnp.zeros((2, 3)), jnp.zeros((2, 3)))
    p = Product({"arm": arm, "rest": Product([coin, Product({"a": coin})])})
    action = p.sample(jax.random.key(0))
    assert set(action) == {"arm", "rest"}
    assert action["rest"][1]["a"].shape == (2,)
    expected = arm.log_prob(action["arm"]) - 2 * np.log(2)
    np.testing.assert_allclose(p.log_prob(action), expected, rtol=1e-6)
    np.testing.assert_allclose(p.entropy(), arm.entropy() + 2 * np.log(2), rtol=1e-6)
    assert p.log_prob(action).dtype == jnp.float64
    np.testing.assert_array_equal(p.kl(p), 0)
