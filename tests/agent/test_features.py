"""What networks see of observations, and the distributions that they give."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trpo_jax import (
    Bernoulli,
    Box,
    Categorical,
    DiagonalGaussian,
    Dict,
    Discrete,
    MultiBinary,
    MultiCategorical,
    MultiDiscrete,
    Product,
    Tuple,
    default_agent,
)
from trpo_jax.agent.features import flatten_observation, split_vector, width_of
from trpo_jax.agent.heads import distribution_of, forbid, mask_space
from trpo_jax.agent.normalization import (
    first_statistics,
    init_normalizer,
    normalize_observation,
    normalized_leaves,
    update_normalizer,
)
from trpo_jax.environments.conversion import convert_space
from trpo_jax.environments.nested import space_tree

KEY = jax.random.key(0)
IMAGE = Box((32, 40, 1), (0.0,) * 1280, (255.0,) * 1280, "uint8")
THEIRS = gymnasium.spaces.Dict(
    b=gymnasium.spaces.Tuple(
        [gymnasium.spaces.Discrete(3, start=-1), gymnasium.spaces.MultiBinary([2, 2])]
    ),
    a=gymnasium.spaces.MultiDiscrete([[3, 2]], start=[[5, -1]]),
    c=gymnasium.spaces.Box(-2, 2, (2, 1), np.float32),
)
SPACE = convert_space("mine", "observation", THEIRS)
ACTIONS = Dict(
    {
        "bits": MultiBinary((2, 2)),
        "one": Discrete(3, start=7),
        "pair": Tuple((MultiDiscrete((3, 2)), Box.uniform((2, 1)), Box.uniform((3,)))),
    }
)


def samples(number):
    THEIRS.seed(0)
    rows = [THEIRS.sample() for _ in range(number)]
    return rows, jax.tree.map(lambda *x: jnp.stack([jnp.asarray(y) for y in x]), *rows)


def test_the_vector_is_that_of_gymnasium():
    rows, batch = samples(20)
    vector = flatten_observation(SPACE, batch)
    from_zero = gymnasium.spaces.Dict(  # theirs forgets the start of a MultiDiscrete
        {**THEIRS.spaces, "a": gymnasium.spaces.MultiDiscrete([[3, 2]])}
    )
    rows = [{**row, "a": row["a"] - THEIRS["a"].start} for row in rows]
    expected = np.stack([gymnasium.spaces.flatten(from_zero, row) for row in rows])
    np.testing.assert_allclose(vector, expected)
    assert vector.shape[-1] == width_of(SPACE) == gymnasium.spaces.flatdim(THEIRS)
    again = split_vector(SPACE, vector)
    jax.tree.map(np.testing.assert_allclose, again, batch)
    one = flatten_observation(SPACE, jax.tree.map(lambda x: x[0], batch))
    np.testing.assert_array_equal(one, vector[0])


def test_pictures_are_divided_by_255_and_small_ones_are_symbols():
    white = jnp.full((2, 32, 40, 1), 255, jnp.uint8)
    assert IMAGE.is_image
    assert float(flatten_observation(IMAGE, white).min()) == 1.0
    assert not Box((7, 7, 3), (0.0,) * 147, (255.0,) * 147, "uint8").is_image
    assert not Box.uniform((32, 32, 3)).is_image


def test_only_boxes_that_are_no_pictures_are_normalised():
    space = Dict(
        {
            "action_mask": Box((2,), (0.0, 0.0), (1.0, 1.0), "int8"),
            "box": Box.uniform((2,)),
            "codes": Box((1,), (0.0,), (9.0,), "int32"),
            "picture": IMAGE,
            "rest": Tuple((Discrete(3), MultiBinary(2), MultiDiscrete((2, 2)))),
        }
    )
    wanted = normalized_leaves(space)
    assert wanted == {
        "action_mask": False, "box": True, "codes": True, "picture": False,
        "rest": (False, False, False),
    }  # fmt: skip
    assert normalized_leaves(Box.uniform((2,))) is True
    assert normalized_leaves("of the user's own") is False


def test_leaves_that_are_not_normalised_pass_through():
    space = {"box": True, "rest": (False,)}
    seen = {
        "box": jax.random.normal(KEY, (4, 3, 2)) * 5 + 1,
        "rest": (jnp.ones((4, 3)),),
    }
    first = jax.tree.map(lambda leaf: leaf[0], seen)
    normalizer = init_normalizer(first, with_observation=space, with_reward=False)
    assert normalizer.observation["rest"] == (None,)
    zeros = jnp.zeros((4, 3))
    rest = seen, zeros, zeros > 0, zeros + 1
    after = update_normalizer(normalizer, *rest)
    box = np.asarray(seen["box"]).reshape(12, 2)
    np.testing.assert_allclose(after.observation["box"].mean, box.mean(0), rtol=1e-5)
    assert after.observation["rest"] == (None,)
    learnt = first_statistics(normalizer, *rest).observation["box"]
    np.testing.assert_allclose(learnt.variance, box.var(0), rtol=1e-5)
    result = normalize_observation(after, seen)
    np.testing.assert_array_equal(result["rest"][0], seen["rest"][0])
    expected = ((box - box.mean(0)) / box.std(0)).reshape(4, 3, 2)
    np.testing.assert_allclose(result["box"], expected, rtol=1e-4, atol=1e-5)
    none = init_normalizer(first, with_observation={"box": False, "rest": (False,)},
                           with_reward=False)  # fmt: skip
    assert none.observation is None


def test_every_space_of_actions_has_its_distribution():
    agent = default_agent(SPACE, ACTIONS, hidden_sizes=(4,), log_std_init=-1.0)
    _, batch = samples(5)
    params = agent.policy.init(KEY, jax.tree.map(lambda x: x[0], batch))
    policy = agent.policy.apply(params, batch)
    assert params["params"]["parts"]["Dense_1"]["bias"].shape == (4 + 3 + 5 + 2 + 3,)
    assert params["params"]["log_std"].shape == (5,)
    assert isinstance(policy, Product)
    bits, one = policy.parts["bits"], policy.parts["one"]
    pair, box, more = policy.parts["pair"].parts
    kinds = Bernoulli, Categorical, MultiCategorical, DiagonalGaussian, DiagonalGaussian
    assert tuple(map(type, (bits, one, pair, box, more))) == kinds
    assert pair.logits.shape == (5, 2, 3)
    assert np.isneginf(pair.logits[:, 1, 2]).all()
    assert np.isfinite(pair.logits).sum() == 25
    action = policy.sample(KEY)
    sizes = jax.tree.map(lambda x, leaf: x[0].size, action, space_tree(ACTIONS))
    assert sizes == {"bits": 4, "one": 1, "pair": (2, 2, 3)}
    parts = bits.log_prob(action["bits"]) + one.log_prob(action["one"])
    for part, own in zip((pair, box, more), action["pair"], strict=True):
        parts = parts + part.log_prob(own)
    np.testing.assert_allclose(policy.log_prob(action), parts, rtol=1e-6)
    assert agent.critic.apply(agent.critic.init(KEY, batch), batch).shape == (5,)


def test_log_std_can_follow_the_observation_in_every_box():
    agent = default_agent(SPACE, ACTIONS, hidden_sizes=(4,), state_dependent_std=True)
    _, batch = samples(5)
    params = agent.policy.init(KEY, batch)
    assert params["params"].keys() == {"parts_and_log_std"}
    _, box, more = agent.policy.apply(params, batch).parts["pair"].parts
    assert (box.log_std.shape, more.log_std.shape) == ((5, 2), (5, 3))


def test_the_logits_of_each_element_are_its_own():
    space = MultiDiscrete((2, 4, 3))
    outputs = jnp.arange(18.0).reshape(2, 9)
    logits = distribution_of(space, outputs, jnp.zeros((2, 0))).logits
    expected = np.full((2, 3, 4), -np.inf)
    for row in range(2):
        expected[row, 0, :2] = outputs[row, :2]
        expected[row, 1] = outputs[row, 2:6]
        expected[row, 2, :3] = outputs[row, 6:]
    np.testing.assert_array_equal(logits, expected)


MASKED = Dict({"action_mask": MultiBinary(3), "observation": Box.uniform((2,))})


def test_a_masked_policy_never_takes_what_is_forbidden():
    agent = default_agent(MASKED, Discrete(3), hidden_sizes=(4,))
    x = jax.random.normal(KEY, (1, 2))
    masks = jnp.array([[1, 1, 1], [1, 0, 0], [0, 1, 1], [0, 0, 0]], jnp.int8)
    seen = {"observation": jnp.repeat(x, 4, 0), "action_mask": masks}
    params = agent.policy.init(KEY, seen)
    assert params["params"]["logits"]["Dense_0"]["kernel"].shape == (2, 4)
    p = jax.nn.softmax(agent.policy.apply(params, seen).logits)
    free = p[0]
    np.testing.assert_array_equal(p[1], [1, 0, 0])
    np.testing.assert_allclose(p[2], [0, *(free[1:] / free[1:].sum())], rtol=1e-6)
    np.testing.assert_array_equal(p[3], free)  # no legal action: all are
    values = agent.critic.apply(agent.critic.init(KEY, seen), seen)
    assert len(np.unique(values)) == 1  # the mask is no feature

    def likelihood(params):
        return agent.policy.apply(params, seen).log_prob(jnp.array([2, 0, 2, 1])).sum()

    gradient = jax.grad(likelihood)(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("together", [True, False])
def test_each_element_has_its_own_mask(together):
    space = MultiDiscrete((2, 3))
    mask = MultiBinary(5) if together else Tuple((MultiBinary(2), MultiBinary(3)))
    seen_space = Dict({"action_mask": mask, "x": Box.uniform((1,))})
    assert mask_space(seen_space, space) == mask
    legal = jnp.array([[0, 1, 1, 0, 1], [0, 0, 1, 0, 0]], jnp.int8)
    given = legal if together else (legal[:, :2], legal[:, 2:])
    policy = distribution_of(space, jnp.zeros((2, 5)), jnp.zeros((2, 0)))
    p = jax.nn.softmax(forbid(space, policy, given).logits)
    expected = [[[0, 1, 0], [0.5, 0, 0.5]], [[0.5, 0.5, 0], [1, 0, 0]]]
    np.testing.assert_allclose(p, expected)


def test_masks_that_cannot_be_obeyed_are_refused_or_seen():
    with pytest.raises(ValueError, match=r"action_mask must have 4 numbers.*; got 3"):
        default_agent(MASKED, Discrete(4))
    with pytest.raises(ValueError, match="not supported for a Dict of actions"):
        default_agent(MASKED, Dict({"a": Discrete(3)}))
    agent = default_agent(MASKED, Box.uniform((2,)), hidden_sizes=(4,))
    seen = {"observation": jnp.zeros(2), "action_mask": jnp.ones(3, jnp.int8)}
    kernel = agent.policy.init(KEY, seen)["params"]["mean"]["Dense_0"]["kernel"]
    assert kernel.shape == (5, 4)
