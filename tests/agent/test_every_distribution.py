"""What holds for every distribution. Oracles: derivatives of KL, Monte Carlo."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, assert_identical, is_finite, matrix_of
from jax.flatten_util import ravel_pytree

from trpo_jax.agent.beta_distribution import Beta
from trpo_jax.agent.discrete_distributions import (
    Bernoulli,
    MultiCategorical,
    mask_logits,
)
from trpo_jax.agent.distributions import Categorical, DiagonalGaussian, sample_rows
from trpo_jax.agent.multivariate_gaussian import MultivariateGaussian
from trpo_jax.agent.product import Product
from trpo_jax.agent.squashed_gaussian import SquashedGaussian

# Leaves of normal numbers, by the axes that follow the rows.
KINDS = {
    "categorical": (Categorical, (3,)),
    "multi_categorical": (MultiCategorical, (2, 3)),
    "bernoulli": (Bernoulli, (3,)),
    "diagonal_gaussian": (DiagonalGaussian, (3,), (3,)),
    "multivariate_gaussian": (MultivariateGaussian, (3,), (3, 3)),
    "squashed_gaussian": (SquashedGaussian, (3,), (3,)),
    "beta": (Beta, (3,), (3,)),
}


def random(kind, seed, leading=(), scale=0.5, dtype="float32"):
    """Return a distribution; a name that is in no table is a `Product` of three."""
    rng = np.random.default_rng(seed)

    def draw(name):
        make, *shapes = KINDS[name]
        normal = [scale * rng.normal(size=(*leading, *shape)) for shape in shapes]
        return make(*(jnp.asarray(x, dtype) for x in normal))

    if kind in KINDS:
        return draw(kind)
    if kind == "masked":
        logits = draw("multi_categorical").logits
        legal = jnp.asarray(rng.permuted([[True, True, False]] * 2, axis=-1))
        return MultiCategorical(
            mask_logits(logits, jnp.broadcast_to(legal, logits.shape))
        )
    inner = Product([draw("bernoulli")])
    arm = draw("multivariate_gaussian")
    return Product({"arm": arm, "inner": inner, "leg": draw("categorical")})


every = pytest.mark.parametrize("kind", [*KINDS, "product"])
KEY = jax.random.key(0)


@every
def test_the_metric_is_the_hessian_of_kl_at_itself(kind, x64):
    p = random(kind, 0, dtype="float64")
    flat, unflatten = ravel_pytree(p)
    hessian = jax.jit(jax.hessian(lambda flat: p.kl(unflatten(flat))))(flat)
    matrix = matrix_of(p.fisher_product, p)
    np.testing.assert_allclose(matrix, hessian, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
    assert np.linalg.eigvalsh(matrix).min() > -1e-12


@every
@pytest.mark.parametrize("scale", [0.5, 5.0])
def test_kl_is_zero_exactly_at_itself_and_positive_elsewhere(kind, scale):
    p, q = (random(kind, seed, (50,), scale) for seed in (0, 1))
    np.testing.assert_array_equal(jax.jit(lambda p: p.kl(p))(p), 0)
    assert (np.asarray(jax.jit(lambda p, q: p.kl(q))(p, q)) > 0).all()


@every
def test_kl_is_the_expected_log_ratio(kind):
    p, q = random(kind, 0), random(kind, 1)

    @jax.jit
    @jax.vmap
    def log_ratio(key):
        action = p.sample(key)
        return p.log_prob(action) - q.log_prob(action)

    ratio = np.asarray(log_ratio(jax.random.split(KEY, 40_000)))
    error = ratio.std() / np.sqrt(ratio.size)
    assert abs(ratio.mean() - float(p.kl(q))) < 5 * error


@every
def test_small_kl_is_half_the_quadratic_form_in_float32(kind):
    p = random(kind, 0, (8,))
    step = jax.tree.map(lambda leaf: 1e-2 * jnp.cos(9 * leaf), p)
    kl = p.kl(jax.tree.map(jnp.add, p, step))
    product = p.fisher_product(step)
    terms = jax.tree.map(lambda s, t: jnp.sum(s * t, range(1, s.ndim)), step, product)
    expected = 0.5 * jax.tree.reduce(jnp.add, terms)
    np.testing.assert_allclose(kl, expected, rtol=3e-2, atol=2e-6)


@every
def test_leading_axes_jit_and_vmap(kind):
    p, q = (random(kind, seed, (4, 2)) for seed in (0, 1))

    def facts(p, q, action):
        results = p.log_prob(action), p.entropy(), p.kl(q)
        return results, p.mode(), p.fisher_product(q)

    action = jax.jit(lambda p: p.sample(KEY))(p)
    whole = jax.jit(facts)(p, q, action)
    assert all(result.shape == (4, 2) for result in whole[0])
    assert jax.tree.structure(whole[2]) == jax.tree.structure(p)
    assert jax.tree.map(jnp.shape, whole[1]) == jax.tree.map(jnp.shape, action)
    by_row = jax.jit(jax.vmap(jax.vmap(facts)))(p, q, action)
    assert_close(by_row, whole, rtol=1e-4, atol=1e-5)


@every
def test_every_row_is_drawn_with_its_own_key(kind):
    p = random(kind, 0, (6,))
    keys = jax.random.split(KEY, 6)
    together = jax.jit(sample_rows)(p, keys)
    assert is_finite(together)
    for i in (0, 5):
        row = jax.tree.map(lambda leaf, i=i: leaf[i], p)
        drawn = jax.tree.map(lambda leaf, i=i: leaf[i], together)
        assert_close(row.sample(keys[i]), drawn)
    assert_identical(jax.jit(sample_rows)(p, keys), together)


@every
@pytest.mark.parametrize("half", ["bfloat16"])
def test_half_precision_is_computed_with_in_float32(kind, half):
    p, q = (random(kind, seed, (3,), dtype=half) for seed in (0, 1))
    wide = [jax.tree.map(lambda leaf: leaf.astype("float32"), x) for x in (p, q)]
    action = wide[0].sample(KEY)

    @jax.jit
    def facts(p, q):
        return p.sample(KEY), p.log_prob(action), p.entropy(), p.kl(q)

    assert_close(facts(p, q), facts(*wide), rtol=1e-6, atol=1e-6)
    dtypes = {leaf.dtype.name for leaf in jax.tree.leaves(facts(p, q))}
    assert dtypes <= {"float32", "int32"}


@pytest.mark.parametrize("kind", ["masked", *KINDS, "product"])
def test_gradients_are_finite(kind):
    p, q = (random(kind, seed, (3,), 2.0) for seed in (0, 0))
    action = p.sample(KEY)

    def total(p):
        product = p.fisher_product(jax.tree.map(jnp.ones_like, p))
        others = p.log_prob(action), p.entropy(), p.kl(q), q.kl(p)
        return sum(jnp.sum(x) for x in jax.tree.leaves((product, others)))

    assert is_finite(jax.jit(jax.grad(total))(p))


def test_no_distribution_passes_for_another():
    """For jaxlib 0.10 dataclasses with arrays of the same shapes have one structure."""

    @jax.jit
    def entropy(p):
        return p.entropy()

    shared = {kind: Product([random(kind, 0)]) for kind in KINDS}
    for kind, p in shared.items():
        others = [q for other, q in shared.items() if other != kind]
        assert jax.tree.structure(p) not in map(jax.tree.structure, others)
        assert_close(entropy(p), p.entropy())
