"""Networks with a memory: in acting, in updates, across episodes and rollouts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trpo_jax import (
    Agent,
    Box,
    Categorical,
    Config,
    Discrete,
    MultiDiscrete,
    Network,
    Step,
    act,
    check_agent,
    collect,
    collect_vine,
    concatenate_batches,
    default_agent,
    estimate_advantages,
    estimate_off_policy_advantages,
    evaluate,
    init,
    recur,
    train_step,
    update,
    update_policy,
)
from trpo_jax.agent.acting import (
    critic_memory_of,
    policy_along,
    policy_of_rows,
    values_along,
)
from trpo_jax.agent.memory import Memory, Sequences
from trpo_jax.algorithm.trpo import prepare_update
from trpo_jax.solver.fisher import fisher_vector_product

KEY = jax.random.key(0)
WIDTH = 3


def elman(outputs):
    """A recurrent network h' = tanh(A h + B x), with outputs C h', of any precision."""

    def init(key, observation):
        a, b, c = jax.random.split(key, 3)
        size = observation.size
        return {
            "a": 0.5 * jax.random.normal(a, (WIDTH, WIDTH)),
            "b": 0.5 * jax.random.normal(b, (WIDTH, size)),
            "c": jax.random.normal(c, (outputs, WIDTH)),
        }

    def apply(params, observation, memory, first):
        def cell(h, x):
            h = jnp.tanh(h @ params["a"].T + x @ params["b"].T)
            return h, h

        start = jnp.zeros(WIDTH, memory.dtype)
        h, memory = recur(cell, memory, observation, first, start)
        out = h @ params["c"].T
        return (Categorical(out) if outputs > 1 else out[..., 0]), memory

    return Network(init, apply, functools.partial(jnp.zeros, WIDTH))


AGENT = Agent(elman(2), elman(1))
VINE = {"single_path": {}, "vine": {"vine_states": 8, "vine_steps": 3}}


class Recall:
    """Show ±1 at first and zeros afterwards; the last action is to name the sign.

    Episodes have `length` steps; with `shown` the sign is always seen.
    """

    name, max_episode_steps = "recall", None
    observation_space, action_space = Box.uniform((2,), -1, 1), Discrete(2)

    def __init__(self, length=3, shown=False):
        self.length, self.shown = length, shown

    def _see(self, sign, t):
        seen = jnp.where((t == 0) | self.shown, sign, 0.0)
        return jnp.stack([seen, (t == self.length - 1).astype(jnp.float32)])

    def reset(self, key):
        sign = jax.random.rademacher(key, (), jnp.float32)
        return (sign, jnp.int32(0)), self._see(sign, jnp.int32(0))

    def step(self, key, env_state, action):
        sign, t = env_state
        right = (2 * action - 1).astype(jnp.float32) * sign
        last = t == self.length - 1
        reward = jnp.where(last, right, 0.0)
        after = (sign, t + 1)
        return Step(after, self._see(*after), reward, last, jnp.bool_(False))


def settings(**options):
    """Without normalisation, so that networks see what is in the rollout."""
    options = {
        "num_envs": 5,
        "normalize_observation": False,
        "scale_reward": False,
    } | options
    return Config(**options)


def start(config=None, agent=AGENT, **options):
    config = config or settings(num_steps=7)
    environment = Recall(**options)
    return jax.jit(lambda: init(KEY, environment, agent, config))(), config


def collected(state, agent=AGENT, environment=None, **options):
    environment = environment or Recall()
    return jax.jit(lambda state: collect(state, environment, agent, **options))(state)


def learnt_from(state, rollout, config, agent=AGENT):
    """The batch of a rollout, as it is made and as an update sees it."""

    @jax.jit
    def make(state, rollout):
        batch = estimate_advantages(state, rollout, agent, config)
        return batch, prepare_update(state, batch, config)[1]

    return make(state, rollout)


def by_hand(network, params, observation, first):
    """Outputs of one environment, one step after another, from the initial memory."""
    memory, outputs = network.initial_memory()[None], []
    apply = jax.jit(network.apply)
    for x, begins in zip(observation, first, strict=True):
        if begins:
            memory = network.initial_memory()[None]
        out, after = apply(params, x[None, None], memory, jnp.zeros((1, 1), bool))
        memory = after[0]
        outputs.append(jax.tree.map(lambda leaf: leaf[0, 0], out))
    return jax.tree.map(lambda *x: jnp.stack(x), *outputs), memory[0]


@pytest.mark.parametrize("num_steps", [1, 7])
def test_acting_is_a_loop_by_hand_and_goes_on_in_the_next_rollout(num_steps):
    state, _ = start()
    before = state
    pieces = []
    for _ in range(2):
        state, rollout = collected(state, num_steps=num_steps)
        pieces.append(rollout)
    every = jax.tree.map(
        lambda *x: jnp.concatenate(x),
        *[(r.observation, r.action, r.log_prob) for r in pieces],
    )
    ended = jnp.concatenate([r.terminated | r.truncated for r in pieces])
    for b in range(5):
        observation, action, log_prob = jax.tree.map(lambda x, b=b: x[:, b], every)
        first = np.r_[True, ended[:-1, b]]
        policy, memory = by_hand(AGENT.policy, before.policy_params, observation, first)
        np.testing.assert_allclose(policy.log_prob(action), log_prob, atol=1e-6)
        _, critic_memory = by_hand(
            AGENT.critic, before.critic_params, observation, first
        )
        rest = 0 if ended[-1, b] else 1
        np.testing.assert_allclose(state.memory.policy[b], rest * memory, atol=1e-6)
        np.testing.assert_allclose(
            state.memory.critic[b], rest * critic_memory, atol=1e-6
        )


def test_beginning_in_the_middle_is_two_sequences():
    params = AGENT.policy.init(KEY, jnp.zeros(2))
    x = jax.random.normal(KEY, (6, 4, 2))
    memory = jax.random.normal(KEY, (4, WIDTH))
    first = jnp.zeros((6, 4), bool).at[2].set(True)
    whole, after = AGENT.policy.apply(params, x, memory, first)
    none = jnp.zeros((6, 4), bool)
    one, _ = AGENT.policy.apply(params, x[:2], memory, none[:2])
    two, last = AGENT.policy.apply(params, x[2:], jnp.zeros((4, WIDTH)), none[2:])
    np.testing.assert_array_equal(
        whole.logits, jnp.concatenate([one.logits, two.logits])
    )
    np.testing.assert_array_equal(after[2:], last)


def test_values_and_bootstraps_are_a_loop_by_hand():
    config = settings(num_steps=8, gae_lambda=0.7, stagger_starts=False)
    state, _ = start(config)
    state, _ = collected(state, num_steps=2)  # the memory is not empty
    _, rollout = collected(state, num_steps=8, time_limit=2)
    assert bool(rollout.truncated.any())
    batch, _ = learnt_from(state, rollout, config)
    critic = functools.partial(jax.jit(AGENT.critic.apply), state.critic_params)
    no = jnp.zeros((1, 1), bool)
    for b in range(5):
        memory, values, following = state.memory.critic[b][None], [], []
        for t in range(8):
            if rollout.first[t, b]:
                memory = jnp.zeros((1, WIDTH))
            value, memory = critic(
                rollout.observation[t : t + 1, b : b + 1], memory, no
            )
            memory = memory[0]
            values.append(value[0, 0])
            led_to = rollout.next_observation[t : t + 1, b : b + 1]
            following.append(critic(led_to, memory, no)[0][0, 0])
        gain, expected = 0.0, []
        for t in reversed(range(8)):
            over = rollout.terminated[t, b]
            delta = rollout.reward[t, b] - values[t]
            delta += 0 if over else config.discount * following[t]
            cut = over or rollout.truncated[t, b]
            gain = delta + (0 if cut else config.discount * 0.7 * gain)
            expected.append(gain)
        np.testing.assert_allclose(batch.advantage[:, b], expected[::-1], atol=1e-5)
    assert rollout.first.dtype == bool and not rollout.first[0].any()


def test_the_ratio_at_the_old_parameters_is_one():
    state, config = start()
    state, rollout = collected(state, num_steps=7)
    _, rows = learnt_from(state, rollout, config)
    assert isinstance(rows.observation, Sequences)
    policy = policy_of_rows(AGENT, state.policy_params, rows.observation)
    np.testing.assert_allclose(
        rows.log_prob(policy), rollout.log_prob.T.reshape(-1), atol=1e-6
    )


def test_fisher_products_through_time_are_those_of_the_dense_matrix(x64):
    agent = AGENT
    params = jax.tree.map(
        lambda x: x.astype(float), agent.policy.init(KEY, jnp.zeros(2))
    )
    flat, unflatten = jax.flatten_util.ravel_pytree(params)
    x = jax.random.normal(KEY, (3, 6, 2))
    memory = Memory(policy=jax.random.normal(KEY, (3, WIDTH)))
    first = jax.random.bernoulli(KEY, 0.3, (3, 6))
    weight = jax.random.uniform(KEY, (18,))
    seen = Sequences(x, memory, first)

    def logits(flat):
        return policy_of_rows(agent, unflatten(flat), seen).logits

    jacobian = jax.jit(jax.jacfwd(logits))(
        flat
    )  # forward, where products go back as well
    p = jax.nn.softmax(logits(flat))
    metric = jax.vmap(lambda p: jnp.diag(p) - jnp.outer(p, p))(p)
    dense = jnp.einsum(
        "n,nai,nab,nbj->ij", weight / weight.sum(), jacobian, metric, jacobian
    )
    product = fisher_vector_product(
        lambda flat: policy_of_rows(agent, unflatten(flat), seen), flat, weight=weight
    )
    products = jax.jit(jax.vmap(product))(jnp.eye(flat.size))
    np.testing.assert_allclose(products, dense, atol=1e-12)


def feed_forward_as_memory(agent):
    """The same networks, which also count steps in a memory."""

    def wrapped(network):
        def apply(params, observation, memory, first):
            _, count = recur(
                lambda n, _: (n, n + 1),
                memory,
                first,
                first,
                jnp.zeros((), jnp.float32),
            )
            return network.apply(params, observation), count

        return Network(network.init, apply, functools.partial(jnp.zeros, ()))

    return Agent(wrapped(agent.policy), wrapped(agent.critic))


@pytest.mark.parametrize("sampling", ["single_path", "vine"])
def test_a_memory_that_is_not_used_changes_nothing(sampling):
    config = settings(
        num_envs=4, num_steps=16, sampling=sampling, **VINE[sampling],
        critic_method="gauss_newton", fisher_fraction=1.0
    )  # fmt: skip
    plain = default_agent(Recall.observation_space, Recall.action_space)
    agents = plain, feed_forward_as_memory(plain)

    @jax.jit
    def both(states):
        pairs = zip(states, agents, strict=True)
        return [train_step(state, Recall(), agent, config) for state, agent in pairs]

    states = [start(config, agent)[0] for agent in agents]
    for _ in range(2):
        states, metrics = zip(*both(states), strict=True)
        np.testing.assert_allclose(*map(np.asarray, metrics), rtol=2e-3, atol=1e-5)
    one, other = (jax.tree.leaves(state.policy_params) for state in states)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-2, atol=2e-3)
    np.testing.assert_array_equal(states[1].memory.policy, states[1].episode_length)


@pytest.mark.parametrize("fisher", ["analytic", "empirical"])
@pytest.mark.parametrize("sampling", ["single_path", "vine"])
def test_it_learns_what_can_only_be_remembered(sampling, fisher):
    config = settings(
        num_envs=32, num_steps=24, sampling=sampling, **VINE[sampling],
        fisher=fisher, critic_epochs=5, max_kl=0.03,
    )  # fmt: skip
    state, _ = start(config)
    step = jax.jit(lambda state: train_step(state, Recall(), AGENT, config))
    for _ in range(25):
        state, metrics = step(state)
        assert metrics.kl <= 0.03 * (1 + 1e-3)
    params = state.policy_params, state.normalizer
    result = evaluate(KEY, Recall(), AGENT, *params, episodes=64)
    assert float(result.episode_return.mean()) == 1.0


def test_without_a_memory_it_cannot_be_learnt():
    config = settings(num_envs=32, num_steps=24, critic_epochs=5, max_kl=0.03)
    agent = default_agent(Recall.observation_space, Recall.action_space)
    state, _ = start(config, agent)
    step = jax.jit(lambda state: train_step(state, Recall(), agent, config))
    for _ in range(25):
        state, _ = step(state)
    params = state.policy_params, state.normalizer
    result = evaluate(KEY, Recall(), agent, *params, episodes=64)
    assert abs(float(result.episode_return.mean())) < 0.4  # half of them, ± 3σ


def test_a_bad_number_is_seen_alike_in_acting_and_in_learning():
    class Bad(Recall):
        def _see(self, sign, t):
            seen = super()._see(sign, t)
            return seen.at[1].set(jnp.where(t == 1, jnp.nan, seen[1]))

    config = settings(num_steps=9)
    state = jax.jit(lambda: init(KEY, Bad(), AGENT, config))()
    state, rollout = collected(state, environment=Bad(), num_steps=9)
    assert bool(jnp.isfinite(rollout.log_prob).all())
    _, rows = learnt_from(state, rollout, config)
    policy = policy_of_rows(AGENT, state.policy_params, rows.observation)
    used = np.asarray(rows.weight) > 0
    assert 0 < used.sum() < used.size
    np.testing.assert_allclose(
        rows.log_prob(policy)[used], rollout.log_prob.T.reshape(-1)[used], atol=1e-6
    )
    after, info = jax.jit(lambda *x: update(*x, AGENT, config))(state, rollout)
    assert int(info.policy.status) == 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(after.policy_params))


def test_stale_sequences_are_learnt_from_side_by_side():
    state, config = start()
    after, old = collected(state, num_steps=7)
    after, _ = jax.jit(lambda *x: update(*x, AGENT, config))(after, old)
    after, new = collected(after, num_steps=7)

    @jax.jit
    def compare(state, rollouts):
        batches = [
            estimate_off_policy_advantages(state, rollout, AGENT, config)
            for rollout in rollouts
        ]
        both = concatenate_batches(batches, [0.5, 1.0])
        rows = [prepare_update(state, batch, config)[1] for batch in (both, *batches)]
        policies = [
            policy_of_rows(AGENT, state.policy_params, each.observation)
            for each in rows
        ]
        _, info = update_policy(KEY, state.policy_params, rows[0], AGENT, config)
        return [policy.logits for policy in policies], info

    (together, *alone), info = compare(after, (old, new))
    np.testing.assert_allclose(together, jnp.concatenate(alone), atol=1e-6)
    assert float(info.kl) <= config.max_kl * (1 + 1e-3)


def test_a_policy_with_a_memory_is_not_called_without():
    state, _ = start()
    with pytest.raises(ValueError, match="this policy has a memory: pass it"):
        act(AGENT, state.policy_params, state.normalizer, state.observation)
    policy, memory = act(
        AGENT, state.policy_params, state.normalizer, state.observation,
        state.memory.policy,
    )  # fmt: skip
    assert policy.logits.shape == (5, 2) and memory.shape == (5, WIDTH)


def test_the_values_of_a_critic_without_memory_have_none():
    agent = Agent(AGENT.policy, default_agent(Box.uniform((2,)), Discrete(2)).critic)
    state, _ = start(agent=agent)
    state, rollout = collected(state, agent, num_steps=7)
    _, memory = values_along(
        agent, state, rollout.observation, rollout.memory, rollout.first
    )
    assert memory == () and state.memory.critic == ()
    config = settings(num_steps=7)
    _, info = update(state, rollout, agent, config)
    assert int(info.policy.status) == 0


def test_a_vine_branches_with_the_memory_of_its_state():
    """Where the sign is not shown any more, a branch's value still depends on it."""
    config = settings(
        num_envs=8, num_steps=6, sampling="vine", vine_states=6, vine_steps=2
    )
    state, _ = start(config, length=2)
    _, rollout, batch = collect_vine(state, Recall(length=2), AGENT, config)
    np.testing.assert_array_equal(batch.time, np.arange(6)[:, None].repeat(8, 1))
    rows = batch.flatten().normalize(state.normalizer)
    policy = policy_of_rows(AGENT, state.policy_params, rows.observation)
    # All actions are tried in all states, so that the trunk's are among them.
    taken = np.asarray(rollout.action).T.reshape(-1)
    log_prob = np.take_along_axis(
        np.asarray(rows.log_prob(policy)), taken[:, None], axis=1
    )
    np.testing.assert_allclose(
        log_prob[:, 0], rollout.log_prob.T.reshape(-1), atol=1e-6
    )


def test_an_agent_whose_memory_changes_its_type_is_refused():
    def apply(params, observation, memory, first):
        output, memory = AGENT.policy.apply(params, observation, memory, first)
        return output, memory.astype(jnp.bfloat16)

    policy = AGENT.policy._replace(apply=apply)
    check_agent(AGENT, Recall())
    with pytest.raises(
        ValueError, match="a memory of the shapes and types of initial_"
    ):
        check_agent(AGENT._replace(policy=policy), Recall())


@pytest.mark.parametrize("shared_trunk", [False, True])
@pytest.mark.parametrize("network", ["gru", "lstm"])
def test_standard_agents_replay_as_they_act(network, shared_trunk):
    spaces = Recall.observation_space, Recall.action_space
    agent = default_agent(
        *spaces, network=network, hidden_sizes=(5, 4), shared_trunk=shared_trunk
    )
    state, _ = start(agent=agent)
    state, _ = collected(state, agent, num_steps=2)
    after, rollout = collected(state, agent, num_steps=7)
    sequence = rollout.observation, rollout.memory, rollout.first
    policy = policy_along(agent, state, *sequence)
    np.testing.assert_allclose(
        policy.log_prob(rollout.action), rollout.log_prob, atol=1e-6
    )
    _, memory = values_along(agent, state, *sequence)
    ended = (rollout.terminated | rollout.truncated)[-1]
    for last, kept in zip(
        jax.tree.leaves(memory),
        jax.tree.leaves(critic_memory_of(agent, after.memory)),
        strict=True,
    ):
        expected = jnp.where(ended[:, None], 0, last[-1])
        np.testing.assert_allclose(kept, expected, atol=1e-6)


def test_a_recurrent_network_needs_a_width():
    with pytest.raises(ValueError, match="must have a width for network gru"):
        default_agent(Box.uniform((2,)), Discrete(2), network="gru", hidden_sizes=())


def test_the_paper_s_network_has_its_parameters():
    """33,500 on 52×40×4 pixels, with a joystick of 3 + 3 + 2 (appendix D)."""

    def parameters(shape, actions, **options):
        size = int(np.prod(shape))
        space = Box(shape, (0,) * size, (255,) * size, "uint8")
        agent = default_agent(space, actions, **options)
        picture = jnp.zeros(shape, jnp.uint8)
        params = jax.eval_shape(agent.policy.init, KEY, picture)
        return sum(leaf.size for leaf in jax.tree.leaves(params))

    joystick = MultiDiscrete((3, 3, 2))
    paper = {"network": "cnn", "hidden_sizes": (20,)}
    assert parameters((4, 52, 40), joystick, **paper) == 33_500
    assert parameters((52, 40, 4), joystick, **paper) == 33_500
    nature = {"network": "nature_cnn", "hidden_sizes": (512,)}
    assert parameters((4, 84, 84), Discrete(6), **nature) == 1_687_206
