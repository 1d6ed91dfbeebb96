"""Oracles: scipy, and sums over all joint actions."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from helpers import assert_identical, is_finite

from trpo_jax.agent.discrete_distributions import (
    Bernoulli,
    MultiCategorical,
    mask_logits,
)
from trpo_jax.agent.distributions import Categorical

pytestmark = pytest.mark.usefixtures("quick_compilation")

SIZES = 3, 2, 4  # of three choices; the logits have room for four actions each
PADDING = jnp.arange(4)[None] < jnp.array(SIZES)[:, None]


def random_multi(seed):
    logits = jnp.asarray(np.random.default_rng(seed).normal(size=(3, 4)))
    return MultiCategorical(mask_logits(logits, PADDING))


def random_bits(seed):
    return Bernoulli(jnp.asarray(np.random.default_rng(seed).normal(size=3)))


def joint(p):
    """Return every action and its probability, from scipy."""
    if isinstance(p, Bernoulli):
        one = scipy.special.expit(np.asarray(p.logits, float))
        table = np.stack([1 - one, one], -1)
    else:
        table = scipy.special.softmax(np.asarray(p.logits, float), axis=-1)
    sizes = (2, 2, 2) if isinstance(p, Bernoulli) else SIZES
    actions = np.array(list(itertools.product(*map(range, sizes))))
    probability = np.prod(np.take_along_axis(table, actions.T, -1), axis=0)
    return actions, probability


both = pytest.mark.parametrize(
    "make", [random_multi, random_bits], ids=["multi_categorical", "bernoulli"]
)


@both
def test_log_prob_entropy_and_kl_are_those_of_all_joint_actions(make, x64):
    p, q = make(0), make(1)
    actions, probability = joint(p)
    np.testing.assert_allclose(probability.sum(), 1, rtol=1e-12)
    log_prob = jax.vmap(p.log_prob)(jnp.asarray(actions))
    np.testing.assert_allclose(log_prob, np.log(probability), rtol=1e-10)
    np.testing.assert_allclose(p.entropy(), scipy.stats.entropy(probability))
    _, other = joint(q)
    np.testing.assert_allclose(p.kl(q), scipy.stats.entropy(probability, other))
    best = actions[np.argmax(probability)]
    assert_identical(p.mode(), jnp.asarray(best, jnp.int32))


@both
def test_samples_have_the_right_frequencies(make):
    p = make(0)
    drawn = np.asarray(jax.vmap(p.sample)(jax.random.split(jax.random.key(0), 20_000)))
    assert drawn.dtype == np.int32
    actions, probability = joint(p)
    sizes = drawn.max(axis=0) + 1
    observed = np.bincount(np.ravel_multi_index(drawn.T, sizes))
    expected = 20_000 * probability
    assert len(actions) == np.prod(sizes)
    assert scipy.stats.chisquare(observed, expected).pvalue > 1e-4


@pytest.mark.parametrize("kind", ["bool", "int8", "uint8", "int32"])
def test_bits_of_any_type(kind):
    p = random_bits(0)
    bits = jnp.array([1, 0, 1])
    assert_identical(p.log_prob(bits.astype(kind)), p.log_prob(bits))


def test_bits_with_extreme_logits():
    p = Bernoulli(jnp.array([1e4, -1e4, 88.0, -jnp.inf]))
    assert p.sample(jax.random.key(0)).tolist() == p.mode().tolist() == [1, 0, 1, 0]
    q = Bernoulli(jnp.array([1e4, -1e4, 0.0, -jnp.inf]))
    assert is_finite((p.entropy(), p.kl(q), q.kl(p), p.log_prob(p.mode())))
    assert is_finite(p.fisher_product(Bernoulli(jnp.ones(4))))
    assert float(p.kl(p)) == 0
    # exp(88) would be the odds: KL of a sure bit to a fair one is log 2.
    np.testing.assert_allclose(p.kl(q), np.log(2), rtol=1e-6)


MASK = jnp.array([[True, False, True, False], [False, True, True, True]])
FEW = jnp.array([[5.0, 90.0, -3.0, 0.0], [30.0, 0.0, 1.0, -2.0]])  # illegal ones lure


def masked(make, logits, mask=MASK):
    return make(mask_logits(logits, mask))


each_choice = pytest.mark.parametrize(
    "make", [Categorical, MultiCategorical], ids=["categorical", "multi_categorical"]
)


@each_choice
def test_forbidden_actions_are_never_drawn(make):
    p = masked(make, FEW)
    keys = jax.random.split(jax.random.key(0), 100_000)
    drawn = np.asarray(jax.jit(jax.vmap(p.sample))(keys))
    for row in range(2):
        legal = np.flatnonzero(MASK[row])
        assert set(np.unique(drawn[:, row])) <= set(legal)
        assert int(p.mode()[row]) in legal


@each_choice
def test_nothing_depends_on_forbidden_logits_and_their_gradient_is_zero(make):
    other = masked(make, FEW - jnp.array([[1.0], [2.0]]) * jnp.cos(FEW))
    action = jnp.array([2, 3])
    tangent = make(jnp.where(MASK, jnp.sin(FEW), 0))

    @jax.jit
    def facts(logits):
        p = masked(make, logits)
        product = jnp.where(MASK, p.fisher_product(tangent).logits, 0)
        return p.log_prob(action), p.entropy(), p.kl(other), other.kl(p), product

    def total(logits):
        return sum(jnp.sum(x) for x in facts(logits))

    assert is_finite(facts(FEW))
    assert_identical(facts(FEW), facts(jnp.where(MASK, FEW, 1e3)))
    gradient = np.asarray(jax.jit(jax.grad(total))(FEW))
    assert np.isfinite(gradient).all()
    assert (gradient[~np.asarray(MASK)] == 0).all()
    assert (gradient[np.asarray(MASK)] != 0).any()
    product = masked(make, FEW).fisher_product(tangent).logits
    assert (np.asarray(product)[~np.asarray(MASK)] == 0).all()


def test_a_masked_distribution_is_that_of_the_legal_actions_alone(x64):
    logits, other = (jnp.asarray(x, float) for x in (FEW[0], jnp.cos(FEW[0])))
    p, q = (masked(Categorical, x, MASK[0]) for x in (logits, other))
    alone, q_alone = (Categorical(x[MASK[0]]) for x in (logits, other))
    np.testing.assert_allclose(p.kl(q), alone.kl(q_alone), rtol=1e-12)
    np.testing.assert_allclose(p.entropy(), alone.entropy(), rtol=1e-12)
    tangent = jnp.arange(4.0)
    product = p.fisher_product(Categorical(tangent)).logits
    expected = alone.fisher_product(Categorical(tangent[MASK[0]])).logits
    np.testing.assert_allclose(product[MASK[0]], expected, rtol=1e-10, atol=1e-15)


def test_masks_of_rows_without_a_legal_action():
    nothing = jnp.zeros((2, 4), bool).at[1, 3].set(True)
    np.testing.assert_array_equal(mask_logits(FEW, nothing)[0], FEW[0])
    assert mask_logits(FEW, nothing)[1].tolist() == [-np.inf] * 3 + [-2]
    # What was missing before is missing still, whatever the second mask says.
    first = mask_logits(FEW, MASK)
    assert_identical(mask_logits(first, ~MASK & False), first)
    assert_identical(mask_logits(first, ~MASK), first)


def test_a_mask_does_not_hide_numbers_that_are_not_finite():
    logits = jnp.array([jnp.nan, 0.0, jnp.nan])
    masked = mask_logits(logits, jnp.array([1, 1, 0]))
    np.testing.assert_array_equal(masked, [np.nan, 0, -np.inf])


def test_masks_keep_the_precision():
    half = mask_logits(FEW.astype("bfloat16"), MASK)
    assert half.dtype == jnp.bfloat16
