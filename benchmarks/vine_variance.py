"""The noise of gradients from vines and paths: `python -m benchmarks.vine_variance`.

A policy is trained for a while and then kept fixed. The gradient of the surrogate, and
the surrogate of a nearby policy, are estimated many times from single paths and from
vines with and without common random numbers, once from the same number of action values
and once from the same number of simulator steps. The noise of an estimate is its
variance divided by the squared norm of its mean.

Estimators also differ in their mean: λ makes a single path rely on the critic after a
few steps, a branch does so at its end. Therefore single paths are estimated with λ = 1
as well, and every mean is compared with that of much longer paths with λ = 1, by the
cosine of the angle between them. Each environment has one JSON file in
`benchmarks/results/vine_variance/`; those that exist are not measured again. At the end
the table is printed and the figure drawn.
"""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jax.flatten_util import ravel_pytree
from matplotlib.ticker import NullFormatter

from benchmarks.drawing import figure_of_height
from benchmarks.result_files import measure_missing, read_all
from trpo_jax.agent.networks import Agent
from trpo_jax.agent.normalization import normalize_observation
from trpo_jax.algorithm.estimation import estimate_advantages
from trpo_jax.algorithm.initialization import init
from trpo_jax.algorithm.rollout import collect
from trpo_jax.algorithm.state import TrainState
from trpo_jax.algorithm.trpo import update
from trpo_jax.algorithm.vine import collect_vine
from trpo_jax.config import Config
from trpo_jax.environments.base import Environment
from trpo_jax.environments.spaces import Discrete
from trpo_jax.runs.api import train
from trpo_jax.runs.self_check import describe

RESULTS = pathlib.Path(__file__).parent / "results" / "vine_variance"
FIGURE = RESULTS.parent / "vine_variance.png"
ENVIRONMENTS = {  # steps of training, and repetitions of each estimate
    "CartPole-v1": (20_480, 200),
    "Pendulum-v1": (40_000, 200),
    "Breakout-MinAtar": (500_000, 200),
    "brax:hopper@spring": (200_000, 60),
}
ENDLESS = 1e9  # drawn where the noise has no upper bound
POOL, WARM_UP = 1024, 200  # environments at random moments of their episodes
ENVS, STATES, STEPS = 16, 8, 16  # B, M and H of the vine; its trunks have H steps too
LONGER = 8  # the reference has paths of this many times the steps
NAMES = (
    "single path, as many Q-values",
    "single path, λ = 1, as many Q-values",
    "single path, as many steps",
    "single path, λ = 1, as many steps",
    "vine, own random numbers",
    "vine, common random numbers",
)


def main(environments: tuple[str, ...] = tuple(ENVIRONMENTS)) -> None:
    """Measure what has no result yet, then draw and print all results.

    Args:
        environments: The environments to measure.
    """
    measure_missing(environments, path_of, measure)
    print(table())
    draw()


def path_of(name: str) -> pathlib.Path:
    """Return the file for an environment."""
    return RESULTS / f"{name.replace(':', '-')}.json"


def measure(name: str) -> dict:
    """Train a policy, then repeat every estimate many times with it."""
    steps, repetitions = ENVIRONMENTS[name]
    trained = train(name, total_steps=steps, seed=77, progress=False)
    environment, agent = trained.environment, trained.agent
    one = jax.tree.map(lambda leaf: leaf[0], trained.state)
    config = dataclasses.replace(trained.plan.config, num_envs=ENVS, num_steps=STEPS)
    space = environment.action_space
    actions = min(4, space.n) if isinstance(space, Discrete) else 4
    values = ENVS * STATES * actions
    of_vine = ENVS * STEPS + values * STEPS  # in actions
    pool, nearby = prepare(one, environment, agent, config)

    def vine(common: bool) -> tuple[Config, int]:
        return dataclasses.replace(
            config, sampling="vine", vine_common_random_numbers=common,
            vine_states=STATES, vine_steps=STEPS, vine_actions=actions,
        ), of_vine  # fmt: skip

    def path(steps: int, **values: float) -> tuple[Config, int]:  # more paths
        return dataclasses.replace(config, num_envs=steps // STEPS, **values), steps

    all_settings = (
        path(values),
        path(values, gae_lambda=1.0),
        path(of_vine),
        path(of_vine, gae_lambda=1.0),
        vine(False),
        vine(True),
    )
    settings = dict(zip(NAMES, all_settings, strict=True))
    keys = jax.random.split(jax.random.key(5), repetitions)

    def repeated(setting: Config, keys: jax.Array) -> tuple[np.ndarray, np.ndarray]:
        one = estimator(pool, nearby, environment, agent, setting)
        found = jax.jit(lambda keys: jax.lax.map(one, keys))(keys)
        return tuple(map(np.asarray, found))

    reference, _ = repeated(
        dataclasses.replace(path(of_vine, gae_lambda=1.0)[0], num_steps=LONGER * STEPS),
        jax.random.split(jax.random.key(6), repetitions // 2),
    )
    estimates = {}
    for label, (setting, simulated) in settings.items():
        gradient, value = repeated(setting, keys)
        estimates[label] = summarize(gradient, value) | {
            "cosine": cosine(gradient, reference),
            "simulator_steps": simulated * config.action_repeat,
            "action_values": simulated if setting.sampling == "single_path" else values,
        }
    return {
        "environment": trained.plan.environment,
        "trained_steps": steps,
        "greedy_return": trained.evaluation["greedy"]["iqm"],
        "repetitions": repetitions,
        "vine": {"B": ENVS, "M": STATES, "K": actions, "H": STEPS},
        "estimates": estimates,
        "versions": describe(),
        "device": jax.devices()[0].device_kind,
    }


def prepare(
    state: TrainState, environment: Environment, agent: Agent, config: Config
) -> tuple[TrainState, Any]:
    """Return the state with a pool of environments, and the policy after an update."""
    wide = dataclasses.replace(config, num_envs=POOL)

    @jax.jit
    def run(state: TrainState) -> tuple[TrainState, Any]:
        fresh = init(jax.random.key(3), environment, agent, wide)
        pool = fresh.replace(
            policy_params=state.policy_params,
            critic_params=state.critic_params,
            normalizer=state.normalizer.replace(return_so_far=jnp.zeros(POOL))
            if state.normalizer.return_so_far is not None
            else state.normalizer,
        )
        pool, _ = collect(pool, environment, agent, num_steps=WARM_UP)
        after, rollout = collect(pool, environment, agent, num_steps=STEPS)
        moved, _ = update(after, rollout, agent, wide)
        return pool, moved.policy_params

    return run(state)


def estimator(
    pool: TrainState,
    nearby: Any,
    environment: Environment,
    agent: Agent,
    config: Config,
) -> Callable[[jax.Array], tuple[jax.Array, jax.Array]]:
    """Return the function key → (gradient, gain of L at the nearby policy)."""

    def estimate(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        pick_key, key = jax.random.split(key)
        chosen = jax.random.choice(pick_key, POOL, (config.num_envs,))
        fields = ("env_state", "observation", "episode_return", "episode_length")
        state = pool.replace(
            key=key,
            **{
                name: jax.tree.map(lambda leaf: leaf[chosen], getattr(pool, name))
                for name in fields
            },
        )
        if config.sampling == "vine":
            _, _, batch = collect_vine(state, environment, agent, config)
        else:
            _, rollout = collect(state, environment, agent, num_steps=config.num_steps)
            batch = estimate_advantages(state, rollout, agent, config)
        rows = batch.flatten()
        observation = normalize_observation(state.normalizer, rows.observation)
        flat, unflatten = ravel_pytree(state.policy_params)

        def act(flat: jax.Array) -> Any:
            return agent.policy.apply(unflatten(flat), observation)

        objective = rows.surrogate(act(flat), standardize=False)
        value, gradient = jax.value_and_grad(lambda flat: objective(act(flat)))(flat)
        return gradient, objective(act(ravel_pytree(nearby)[0])) - value

    return estimate


def summarize(gradient: np.ndarray, value: np.ndarray) -> dict:
    """Return the noise of the gradient and of L, with 95 % bootstrap intervals.

    None means that the mean cannot be distinguished from zero, so that the noise has no
    upper bound.
    """
    rng = np.random.default_rng(0)
    draws = rng.integers(len(value), size=(500, len(value)))

    def noise(x: np.ndarray, resampled: int = 0) -> float:
        """Return the variance over the squared mean, without the bias of the latter.

        The bias is variance / n for the mean of n draws, and twice that for the mean
        of a resampling of these draws.
        """
        variance = x.var(axis=0, ddof=1).sum()
        square = (x.mean(axis=0) ** 2).sum() - (1 + resampled) * variance / len(x)
        return float(variance / square) if square > 0 else np.inf

    def finite(x: float) -> float | None:
        return float(x) if np.isfinite(x) else None

    def noise_with_interval(x: np.ndarray) -> dict:
        ends = np.percentile(
            [noise(x[rows], 1) for rows in draws], [2.5, 97.5], method="nearest"
        )
        return {"noise": finite(noise(x)), "ci95": [finite(end) for end in ends]}

    return {
        "gradient": noise_with_interval(gradient),
        "surrogate": noise_with_interval(value[:, None]),
        "surrogate_mean": float(value.mean()),
        "gradient_norm": float(np.linalg.norm(gradient.mean(axis=0))),
    }


def cosine(draws: np.ndarray, reference: np.ndarray) -> float | None:
    """Return the cosine of the angle between two means, corrected for their noise."""

    def square(x: np.ndarray) -> float:
        return (x.mean(axis=0) ** 2).sum() - x.var(axis=0, ddof=1).sum() / len(x)

    squares = square(draws) * square(reference)
    if square(draws) <= 0 or square(reference) <= 0:
        return None
    return float(draws.mean(axis=0) @ reference.mean(axis=0) / np.sqrt(squares))


def table() -> str:
    """Return the results on disk as Markdown."""
    lines = [
        "| environment | estimator | Q-values | simulator steps | noise of gradient "
        "| noise of L | cosine to the reference |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, result in read_all(tuple(ENVIRONMENTS), path_of).items():
        for label, estimate in result["estimates"].items():
            noises = (
                f"{written(estimate[what]['noise'])} "
                f"[{', '.join(map(written, estimate[what]['ci95']))}]"
                for what in ("gradient", "surrogate")
            )
            lines.append(
                f"| {name} | {label} | {estimate['action_values']} | "
                f"{estimate['simulator_steps']} | {' | '.join(noises)} | "
                f"{written(estimate['cosine']).replace('∞', '–')} |"
            )
    return "\n".join(lines)


def written(noise: float | None) -> str:
    """Return a noise in three digits."""
    return "∞" if noise is None else f"{noise:.3g}"


def draw() -> None:
    """Draw the noise of every estimator, a panel for each environment."""
    found = read_all(tuple(ENVIRONMENTS), path_of)
    with figure_of_height(FIGURE, 3) as figure:
        panels = figure.subplots(1, len(found), squeeze=False, sharey=True)[0]
        for axes, (name, result) in zip(panels, found.items()):
            axes.set_title(name)
            for i, label in enumerate(NAMES):
                estimate = result["estimates"][label]["gradient"]
                low, high = (ENDLESS if x is None else x for x in estimate["ci95"])
                axes.plot([low, high], [-i, -i], color=f"C{i}", lw=2)
                if estimate["noise"] is not None:
                    axes.plot(estimate["noise"], -i, "o", color=f"C{i}")
            axes.set_xscale("log")
            axes.xaxis.set_minor_formatter(NullFormatter())
            ends = [
                end
                for estimate in result["estimates"].values()
                for end in estimate["gradient"]["ci95"]
                if end is not None
            ]
            axes.set_xlim(
                10 ** np.floor(np.log10(np.min(ends))),
                10 ** np.ceil(np.log10(np.max(ends))),
            )
            axes.grid(axis="x", which="both")
        panels[0].set_yticks([-i for i in range(len(NAMES))], NAMES)
        panels[0].set_ylim(-len(NAMES) + 0.5, 0.5)
        figure.supxlabel("noise of the gradient: variance / |mean|²", fontsize="medium")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
