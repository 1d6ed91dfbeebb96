"""Oracles: scipy's densities and entropies, Monte Carlo, and derivatives of KL."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from helpers import assert_close, assert_identical, is_finite

from trpo_jax.agent.distributions import Categorical, DiagonalGaussian

SAMPLES = 100_000


def random_categorical(seed, shape=(4, 3), scale=2.0):
    rng = np.random.default_rng(seed)
    return Categorical(jnp.asarray(scale * rng.normal(size=shape)))


def random_gaussian(seed, shape=(4, 3), scale=1.0):
    rng = np.random.default_rng(seed)
    mean, log_std = scale * rng.normal(size=(2, *shape))
    return DiagonalGaussian(jnp.asarray(mean), jnp.asarray(log_std))


BOTH = pytest.mark.parametrize(
    "random", [random_categorical, random_gaussian], ids=["categorical", "gaussian"]
)


def test_categorical_log_prob_and_entropy_are_those_of_scipy(x64):
    p = random_categorical(0)
    probability = scipy.special.softmax(np.asarray(p.logits), axis=-1)
    for action in range(3):
        np.testing.assert_allclose(
            p.log_prob(jnp.full(4, action)), np.log(probability[:, action]), rtol=1e-12
        )
    entropy = scipy.stats.entropy(probability, axis=-1)
    np.testing.assert_allclose(p.entropy(), entropy, rtol=1e-12)


def test_gaussian_log_prob_and_entropy_are_those_of_scipy(x64):
    p = random_gaussian(0)
    action = np.random.default_rng(1).normal(size=(4, 3))
    for i in range(4):
        reference = scipy.stats.multivariate_normal(
            p.mean[i], np.diag(np.exp(2 * p.log_std[i]))
        )
        row = jax.tree.map(lambda leaf, i=i: leaf[i], p)
        np.testing.assert_allclose(
            row.log_prob(jnp.asarray(action[i])), reference.logpdf(action[i])
        )
        np.testing.assert_allclose(row.entropy(), reference.entropy())


def test_categorical_kl_is_that_of_scipy(x64):
    p, q = random_categorical(0), random_categorical(1)
    dense_p, dense_q = (scipy.special.softmax(d.logits, axis=-1) for d in (p, q))
    expected = scipy.stats.entropy(dense_p, dense_q, axis=-1)
    np.testing.assert_allclose(p.kl(q), expected, rtol=1e-12)


@BOTH
def test_kl_is_the_expected_log_ratio(random, x64):
    p, q = random(0, (3,), 0.7), random(1, (3,), 0.7)
    many = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (SAMPLES, 3)), (p, q))
    action = many[0].sample(jax.random.key(0))
    ratio = np.asarray(many[0].log_prob(action) - many[1].log_prob(action))
    error = ratio.std() / np.sqrt(SAMPLES)
    assert abs(ratio.mean() - float(p.kl(q))) < 5 * error


def test_categorical_kl_has_a_direction():
    # p = (½, ½), q = (¼, ¾): KL(p‖q) = ½ ln 2 + ½ ln ⅔ = ½ ln 4/3 = 0.1438;
    # KL(q‖p) = ¼ ln ½ + ¾ ln 3/2 = 0.1308.
    p = Categorical(jnp.log(jnp.array([0.5, 0.5])))
    q = Categorical(jnp.log(jnp.array([0.25, 0.75])))
    np.testing.assert_allclose(p.kl(q), 0.143841, rtol=1e-5)
    np.testing.assert_allclose(q.kl(p), 0.130812, rtol=1e-5)


def test_gaussian_kl_has_a_direction():
    # σ_p = 1, σ_q = 2, means 1 apart: KL(p‖q) = ln 2 + (1 + 1)/8 − ½ = 0.443147;
    # KL(q‖p) = −ln 2 + (4 + 1)/2 − ½ = 1.306853.
    p = DiagonalGaussian(jnp.zeros(1), jnp.zeros(1))
    q = DiagonalGaussian(jnp.ones(1), jnp.log(jnp.full(1, 2.0)))
    np.testing.assert_allclose(p.kl(q), 0.443147, rtol=1e-5)
    np.testing.assert_allclose(q.kl(p), 1.306853, rtol=1e-5)


EXTREMES = st.sampled_from([-1e4, -30.0, -1.0, 0.0, 1e-3, 2.0, 88.0, 1e4])


def triples(elements):
    return st.lists(elements, min_size=3, max_size=3)


@jax.jit
def facts(p, q, key):
    return {
        "kl": p.kl(q),
        "self": p.kl(p),
        "entropy": p.entropy(),
        "log_prob": p.log_prob(p.sample(key)),
    }


@hypothesis.given(triples(EXTREMES), triples(EXTREMES), st.integers(0, 99))
def test_categorical_with_extreme_logits(left, right, seed):
    p, q = Categorical(jnp.array(left)), Categorical(jnp.array(right))
    known = facts(p, q, jax.random.key(seed))
    assert is_finite(known)
    assert float(known["self"]) == 0.0
    assert float(known["kl"]) >= -1e-6
    assert -1e-6 <= float(known["entropy"]) <= np.log(3) + 1e-6
    assert float(known["log_prob"]) <= 0


@hypothesis.given(
    triples(st.floats(-1e4, 1e4, width=32)), triples(st.floats(-20, 20, width=32))
)
def test_gaussian_with_extreme_parameters(mean, log_std):
    p = DiagonalGaussian(jnp.array(mean), jnp.array(log_std))
    q = DiagonalGaussian(jnp.array(mean[::-1]), jnp.array(log_std[::-1]))
    known = facts(p, q, jax.random.key(0))
    assert float(known["self"]) == 0.0
    assert float(known["kl"]) >= 0
    assert is_finite((known["entropy"], known["log_prob"]))


@BOTH
def test_small_kl_is_accurate_in_float32(random, x64):
    p = random(0)
    q = jax.tree.map(lambda leaf: leaf + 1e-2 * jnp.sin(7 * leaf), p)
    narrow = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (p, q))
    np.testing.assert_allclose(narrow[0].kl(narrow[1]), p.kl(q), rtol=1e-2, atol=1e-7)


def test_forbidden_actions_have_no_probability():
    # −∞ leaves a fair coin between the other two.
    p = Categorical(jnp.array([0.0, -jnp.inf, 0.0]))
    assert float(p.log_prob(jnp.array(1))) == -np.inf
    np.testing.assert_allclose(p.entropy(), np.log(2), rtol=1e-6)
    actions = jax.vmap(p.sample)(jax.random.split(jax.random.key(0), 1000))
    assert set(actions.tolist()) == {0, 2}
    assert float(p.kl(p)) == 0.0


def test_kl_to_a_distribution_that_forbids_what_this_allows_is_infinite():
    p = Categorical(jnp.zeros(3))
    q = Categorical(jnp.array([0.0, -jnp.inf, 0.0]))
    assert float(p.kl(q)) == np.inf
    np.testing.assert_allclose(q.kl(p), np.log(1.5), rtol=1e-6)


FORBIDDING = jnp.array([0.3, -jnp.inf, -0.2])


@pytest.mark.parametrize(
    "function",
    [
        lambda p: p.log_prob(jnp.array(0)),
        lambda p: p.entropy(),
        lambda p: Categorical(FORBIDDING + 0.1).kl(p),
        lambda p: p.kl(Categorical(FORBIDDING + 0.1)),
        lambda p: jnp.sum(p.fisher_product(Categorical(jnp.ones(3))).logits),
    ],
    ids=["log_prob", "entropy", "kl to", "kl from", "fisher_product"],
)
def test_gradients_stay_finite_when_an_action_is_forbidden(function):
    gradient = jax.grad(lambda logits: function(Categorical(logits)))(FORBIDDING)
    assert is_finite(gradient)


def test_action_probabilities_do_not_depend_on_a_shift_of_the_logits():
    p = random_categorical(0)
    q = Categorical(p.logits + 5)
    assert_close(p.log_prob(jnp.zeros(4, int)), q.log_prob(jnp.zeros(4, int)))
    assert float(jnp.max(jnp.abs(p.kl(q)))) < 1e-6


@BOTH
def test_fisher_product_is_the_hessian_of_kl_at_itself(random, x64):
    p = random(0, (3,))
    tangent = random(1, (3,))
    gradient = jax.grad(p.kl)
    _, expected = jax.jvp(gradient, (p,), (tangent,))
    assert_close(p.fisher_product(tangent), expected, rtol=1e-10, atol=1e-12)


@BOTH
def test_expected_score_outer_product_is_the_fisher_matrix(random):
    p = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), random(0, (3,), 0.5))
    tangent = jax.tree.map(jnp.cos, p)

    def score_times_tangent(key):
        action = p.sample(key)
        score = jax.grad(lambda q: q.log_prob(action))(p)
        along = jax.tree.reduce(
            jnp.add, jax.tree.map(lambda s, t: jnp.sum(s * t), score, tangent)
        )
        return jax.tree.map(lambda s: s * along, score)

    keys = jax.random.split(jax.random.key(0), SAMPLES)
    estimate = jax.jit(
        lambda keys: jax.tree.map(
            lambda leaf: jnp.mean(leaf, axis=0), jax.vmap(score_times_tangent)(keys)
        )
    )(keys)
    assert_close(estimate, p.fisher_product(tangent), rtol=0.05, atol=0.03)


def test_categorical_samples_have_the_right_frequencies():
    probability = np.array([0.1, 0.2, 0.7])
    many = Categorical(jnp.broadcast_to(jnp.log(probability), (SAMPLES, 3)))
    actions = many.sample(jax.random.key(1))
    assert actions.dtype == jnp.int32
    counts = np.bincount(actions, minlength=3)
    assert scipy.stats.chisquare(counts, SAMPLES * probability).pvalue > 1e-4


def test_gaussian_samples_are_normal_and_independent():
    mean, std = np.array([1.0, -2.0]), np.array([0.5, 3.0])
    many = DiagonalGaussian(
        jnp.broadcast_to(jnp.asarray(mean, "float32"), (SAMPLES, 2)),
        jnp.broadcast_to(jnp.log(jnp.asarray(std, "float32")), (SAMPLES, 2)),
    )
    actions = np.asarray(many.sample(jax.random.key(1)))
    for i in range(2):
        test = scipy.stats.kstest((actions[:, i] - mean[i]) / std[i], "norm")
        assert test.pvalue > 1e-4
    assert abs(np.corrcoef(actions.T)[0, 1]) < 0.02


@BOTH
def test_the_same_key_draws_the_same_sample(random):
    p = random(0)
    one, again, other = (p.sample(jax.random.key(k)) for k in (0, 0, 1))
    assert_identical(one, again)
    assert (one != other).any()


def test_mode_is_the_most_probable_action():
    p = Categorical(jnp.array([[0.0, 3.0, 1.0], [-5.0, -6.0, -7.0]]))
    assert_identical(p.mode(), jnp.array([1, 0], jnp.int32))
    q = random_gaussian(0)
    assert_identical(q.mode(), q.mean)


@BOTH
@pytest.mark.parametrize("leading", [(), (2,), (2, 3)])
def test_any_leading_axes(random, leading):
    p, q = random(0, (*leading, 3)), random(1, (*leading, 3))
    action = p.sample(jax.random.key(0))
    for result in (p.log_prob(action), p.entropy(), p.kl(q)):
        assert result.shape == leading
    assert p.mode().shape == action.shape
    assert jax.tree.structure(p.fisher_product(q)) == jax.tree.structure(p)


@BOTH
def test_jit_and_vmap_change_nothing(random):
    p, q = random(0), random(1)
    key = jax.random.key(0)
    together = facts(p, q, key)
    action = p.sample(key)
    assert_close(together["kl"], p.kl(q))
    assert_close(jax.vmap(lambda p, q: p.kl(q))(p, q), p.kl(q))
    assert_close(jax.vmap(lambda p: p.entropy())(p), p.entropy())
    assert_close(jax.vmap(lambda p, a: p.log_prob(a))(p, action), p.log_prob(action))
    assert_close(jax.vmap(lambda p, t: p.fisher_product(t))(p, q), p.fisher_product(q))


MIXED = pytest.mark.parametrize(
    ("mean_type", "std_type"),
    [
        (jnp.bfloat16, jnp.float32),
        (jnp.float32, jnp.float16),
        (jnp.bfloat16, jnp.bfloat16),
        (jnp.float16, jnp.bfloat16),
    ],
)


@MIXED
def test_mean_and_deviation_may_differ_in_precision(mean_type, std_type):
    """The oracle takes the rounded numbers in float64; sums are of 300 dimensions."""
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(4, 3, 300))
    p, q = (
        DiagonalGaussian(
            jnp.asarray(mean, mean_type), jnp.asarray(0.3 * log_std, std_type)
        )
        for mean, log_std in (numbers[:2], numbers[2:])
    )
    exact = [np.asarray(x, float) for x in (p.mean, p.log_std, q.mean, q.log_std)]
    mean, log_std, other_mean, other_log_std = exact
    action = rng.normal(size=(3, 300)).astype(np.float32)
    log_density = scipy.stats.norm.logpdf(action.astype(float), mean, np.exp(log_std))
    np.testing.assert_allclose(p.log_prob(action), log_density.sum(-1), rtol=1e-5)
    entropy = scipy.stats.norm.entropy(mean, np.exp(log_std)).sum(-1)
    np.testing.assert_allclose(p.entropy(), entropy, rtol=1e-5)
    d = log_std - other_log_std
    z = (mean - other_mean) / np.exp(other_log_std)
    kl = (0.5 * (np.exp(2 * d) - 1) - d + 0.5 * z**2).sum(-1)
    np.testing.assert_allclose(p.kl(q), kl, rtol=1e-5)
    np.testing.assert_array_equal(p.kl(p), 0)
    assert p.sample(jax.random.key(0)).dtype == jnp.float32


@pytest.mark.parametrize("kind", [jnp.bfloat16, jnp.float16])
def test_logits_of_half_precision_are_computed_with_in_float32(kind):
    rng = np.random.default_rng(0)
    p, q = (Categorical(jnp.asarray(x, kind)) for x in rng.normal(size=(2, 3, 300)))
    log_p, log_q = (
        scipy.special.log_softmax(np.asarray(x.logits, float), axis=-1) for x in (p, q)
    )
    action = np.array([7, 250, 299])
    expected = np.take_along_axis(log_p, action[:, None], -1)[:, 0]
    np.testing.assert_allclose(p.log_prob(action), expected, rtol=1e-5)
    entropy = -(np.exp(log_p) * log_p).sum(-1)
    np.testing.assert_allclose(p.entropy(), entropy, rtol=1e-5)
    kl = (np.exp(log_p) * (log_p - log_q)).sum(-1)
    np.testing.assert_allclose(p.kl(q), kl, rtol=1e-4)
    np.testing.assert_array_equal(p.kl(p), 0)


def test_discrete_actions_are_int32_in_double_precision_too(x64):
    p = random_categorical(0)
    assert p.sample(jax.random.key(0)).dtype == p.mode().dtype == jnp.int32
