"""rejax's PPO: `rejax_ppo.py speed|solve … STARTED`.

* `speed ENVS STEPS TOTAL`: environment steps per second of a training on CartPole-v1
  with rejax's defaults, apart from these numbers and tanh. Neither compilation nor
  evaluation counts. There are two turns after one that is ignored; the greedy return at
  the end is printed, too.
* `solve ENVIRONMENT SEED GOAL VALUES`: one iteration after the other until the mean of
  100 greedy episodes reaches the goal, as in `solve_sb3.py`, or a million steps are
  done. The values are the `published` ones (https://github.com/keraJLi/rejax,
  configs/gymnax) or the `defaults`.
"""

import json
import sys
import time

import jax
import jax.numpy as jnp
from rejax import PPO

EPISODES, STEPS = 100, 1_000_000
SMALL = {
    "agent_kwargs": {"activation": "tanh"}, "num_envs": 5, "num_steps": 100,
    "num_epochs": 5, "num_minibatches": 5, "learning_rate": 7.5e-4,
    "max_grad_norm": 0.5, "gamma": 0.99, "gae_lambda": 0.95, "clip_eps": 0.2,
    "ent_coef": 0.01, "vf_coef": 0.5,
}  # fmt: skip
PUBLISHED = {
    "CartPole-v1": SMALL,
    "Acrobot-v1": {**SMALL, "normalize_observations": True},
    "Pendulum-v1": {
        "agent_kwargs": {"activation": "swish"}, "num_envs": 100, "num_steps": 100,
        "num_epochs": 10, "num_minibatches": 10, "learning_rate": 1e-3,
        "max_grad_norm": 10, "gamma": 0.995, "gae_lambda": 0.95, "clip_eps": 0.2,
        "ent_coef": 0.0, "vf_coef": 0.5, "normalize_observations": True,
    },
}  # fmt: skip


def evaluation_of(algorithm):
    """Return the function (state, key) → mean return of greedy episodes."""
    env, params = algorithm.env, algorithm.env_params

    def act(state, observation):
        if algorithm.normalize_observations:
            observation = algorithm.normalize_obs(state.obs_rms_state, observation)
        policy = algorithm.actor.apply(
            state.actor_ts.params, observation[None], method="_action_dist"
        )
        if hasattr(policy, "logits"):
            return jnp.argmax(policy.logits[0])
        return jnp.clip(policy.mean()[0], *algorithm.actor.action_range)

    def episode(state, key):
        observation, env_state = env.reset(key, params)

        def step(carry, key):
            observation, env_state, total, playing = carry
            observation, env_state, reward, done, _ = env.step(
                key, env_state, act(state, observation), params
            )
            total = total + jnp.where(playing, reward, 0.0)
            return (observation, env_state, total, playing & ~done), None

        keys = jax.random.split(key, params.max_steps_in_episode)
        start = (observation, env_state, jnp.float32(0), jnp.bool_(True))
        return jax.lax.scan(step, start, keys)[0][2]

    def evaluate(state, key):
        keys = jax.random.split(key, EPISODES)
        return jax.vmap(episode, (None, 0))(state, keys).mean()

    return evaluate


def speed(num_envs, num_steps, total, started):
    """Print the steps per second."""
    del started
    total = num_envs * num_steps * max(1, total // (num_envs * num_steps))
    algorithm = PPO.create(
        env="CartPole-v1", num_envs=num_envs, num_steps=num_steps,
        total_timesteps=total, eval_freq=total, skip_initial_evaluation=True,
        agent_kwargs={"activation": "tanh"},
    )  # fmt: skip
    algorithm = algorithm.replace(eval_callback=lambda algorithm, state, key: ())
    start = time.perf_counter()
    train = jax.jit(lambda key: PPO.train(algorithm, key))
    train = train.lower(jax.random.PRNGKey(0)).compile()
    compiled = time.perf_counter() - start
    rates = []
    for turn in range(3):
        start = time.perf_counter()
        state, _ = jax.block_until_ready(train(jax.random.PRNGKey(turn)))
        rates.append(round(total / (time.perf_counter() - start)))
    evaluate = jax.jit(evaluation_of(algorithm))
    greedy = float(evaluate(state, jax.random.PRNGKey(10_000)))
    print(
        json.dumps(
            {
                "rates": rates[1:],
                "greedy": greedy,
                "compile_seconds": round(compiled, 2),
            }
        )
    )


def solve(name, seed, goal, values, started):
    """Print the steps and seconds until the task is solved."""
    values = PUBLISHED[name] if values == "published" else {}
    algorithm = PPO.create(env=name, **values)
    key = jax.random.PRNGKey(seed)
    init = jax.jit(algorithm.init_state).lower(key).compile()
    state = init(key)
    iterate = jax.jit(algorithm.train_iteration).lower(state).compile()
    now = time.time()
    evaluate = jax.jit(evaluation_of(algorithm)).lower(state, key).compile()
    paused = time.time() - now  # only this benchmark needs the evaluation
    state = jax.block_until_ready(init(key))
    began, steps = time.time(), 0
    off = 0.0
    while steps < STEPS:
        state = jax.block_until_ready(iterate(state))
        steps += algorithm.num_envs * algorithm.num_steps
        now = time.time()
        greedy = float(evaluate(state, jax.random.PRNGKey(10_000)))
        if greedy >= goal:
            solved = {
                "steps": steps,
                "train_seconds": round(now - began - off, 3),
                "wall_seconds": round(now - started - off - paused, 3),
                "greedy": greedy,
            }
            print(json.dumps(solved))
            return
        off += time.time() - now
    print(json.dumps({"steps": None, "train_seconds": None, "wall_seconds": None}))


if __name__ == "__main__":
    if sys.argv[1] == "speed":
        speed(*map(int, sys.argv[2:5]), float(sys.argv[5]))
    else:
        name, seed, goal, values, started = sys.argv[2:]
        solve(name, int(seed), float(goal), values, float(started))
