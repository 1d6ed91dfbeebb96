"""The paper's comparison (§8.1, figure 4): `python -m benchmarks.paper_figure4`.

Single path, vine, natural gradient, maximum KL, empirical Fisher matrix, the
cross-entropy method and CMA-ES: with a linear policy on a cart-pole, and with small
networks on a swimmer, a hopper and a walker; the same number of simulator steps for
all, five seeds. The scale is far below the paper's (`PAPER`). The step size of the
natural gradient and the first spread of CEM, which CMA begins with too, are the best of
a few on another seed. Curves are returns while learning: of sampled actions, but of
greedy policies for those two. One JSON a task and method goes
to `benchmarks/results/paper_figure4/`; what is there already is left alone. Then the
table is printed and the figure drawn.
"""

import dataclasses
import functools
import json
import pathlib
from typing import Any

import numpy as np
import tyro
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.cart_pole import CartPole
from benchmarks.evolution import cma, cross_entropy, evolve
from benchmarks.returns import middle_of, read_all, write_json
from benchmarks.runs import curve_of, vine_of_as_many_steps
from trpo_jax.agent.networks import mlp_agent
from trpo_jax.environments import make_environment
from trpo_jax.environments.base import Environment
from trpo_jax.runs.api import train
from trpo_jax.runs.plotting import interquartile_mean
from trpo_jax.runs.self_check import describe

RESULTS = pathlib.Path(__file__).parent / "results" / "paper_figure4"
FIGURE = RESULTS.parent / "paper_figure4.png"
SEEDS, TUNING_SEED, POINTS = 5, 1000, 40
STEP_SIZES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # and on, while larger is better
SPREADS = (0.1, 0.3, 1.0, 3.0)
PAPER = "200 iterations of 50K (swimmer) or 1M (hopper, walker) simulator steps"


@dataclasses.dataclass(frozen=True)
class Task:
    """A task: where, for how many steps, with which network and batches."""

    environment: str | type
    total_steps: int
    hidden_sizes: tuple[int, ...]
    num_envs: int
    num_steps: int

    def make(self) -> Environment:
        """Make its environment."""
        if isinstance(self.environment, str):
            return make_environment(self.environment)
        return self.environment()


TASKS = {
    "cart-pole": Task(CartPole, 300_000, (), 16, 128),
    "swimmer": Task("gymnax:Swimmer-misc", 500_000, (30,), 16, 256),
    "hopper": Task("brax:hopper@spring", 500_000, (50,), 64, 64),
    "walker": Task("brax:walker2d@spring", 500_000, (50,), 64, 64),
}
SHARED = {  # whatever the presets say; and no statistics that CEM and CMA lack
    "normalize_observation": False,
    "log_std_init": 0.0,
    "max_kl": 0.01,
    "max_kl_final": 1.0,
    "discount": 0.99,
    "gae_lambda": 0.97,
    "critic_hidden_sizes": (64, 64),
}
METHODS: dict[str, dict[str, Any]] = {
    "single path": {},
    "vine": {"sampling": "vine", "vine_actions": 4},
    "natural gradient": {"method": "natural_gradient"},
    "max KL": {"divergence": "max_kl"},
    "empirical FIM": {"fisher": "empirical"},
    "CEM": {},
    "CMA": {},
}


def main(
    tasks: tuple[str, ...] = tuple(TASKS), methods: tuple[str, ...] = tuple(METHODS)
) -> None:
    """Run what has no result yet; draw and print what there is.

    Args:
        tasks: to run.
        methods: to run.
    """
    for task in tasks:
        for method in methods:
            if not path_of(task, method).exists():
                write_json(path_of(task, method), measure(task, method))
            print(task, method, "done", flush=True)
    print(table())
    draw()


def path_of(task: str, method: str) -> pathlib.Path:
    """Return the file of a task and a method."""
    return RESULTS / task / f"{method.replace(' ', '-')}.json"


def measure(task: str, method: str) -> dict:
    """Train five seeds, after a choice on another one where there is one to make."""
    if method == "CMA":  # adapts its spread, and begins with that of CEM
        spread = json.loads(path_of(task, "CEM").read_text())["values"]["spread"]
        found = without_gradients(task, method, list(range(SEEDS)), [spread] * SEEDS)
        return found | told(task, method, {"spread": spread})
    if method == "CEM":
        found = without_gradients(
            task, method, [TUNING_SEED] * len(SPREADS), list(SPREADS)
        )
        means = np.nanmean(np.array(found["episode_return"], float), axis=1).tolist()
        tried = dict(zip(SPREADS, means, strict=True))
        spread = max(tried, key=tried.get)
        found = without_gradients(task, method, list(range(SEEDS)), [spread] * SEEDS)
        return found | told(task, method, {"spread": spread, "tried": tried})
    values = values_of(task, method)
    if method != "natural gradient":
        return by_gradient(task, values, SEEDS, 0) | told(task, method, values)
    sizes, tried = list(STEP_SIZES), {}
    while sizes:
        size = sizes.pop(0)
        values["step_size"] = size
        tried[size] = mean_of(by_gradient(task, values, 1, TUNING_SEED))
        if not sizes and max(tried, key=tried.get) == size:
            sizes.append(float(f"{size * 10 / 3:.1g}"))  # 10, 30, 100, ...
    values["step_size"] = max(tried, key=tried.get)
    found = by_gradient(task, values, SEEDS, 0)
    return found | told(task, method, values | {"tried": tried})


def mean_of(found: dict) -> float:
    """Return the mean return over the whole of a training."""
    return float(np.nanmean(np.array(found["episode_return"], float)))


def told(task: str, method: str, values: dict) -> dict:
    """Return what a reader needs to repeat a result."""
    setting = dataclasses.asdict(TASKS[task])
    setting["environment"] = TASKS[task].make().name
    return {
        "task": task,
        "method": method,
        "setting": setting,
        "values": values,
        "seeds": SEEDS,
        "versions": describe(),
    }


def values_of(task: str, method: str) -> dict:
    """Return the hyper-parameters of a method, with as many steps in an iteration."""
    setting = TASKS[task]
    values = SHARED | METHODS[method]
    values |= {
        "hidden_sizes": setting.hidden_sizes,
        "num_envs": setting.num_envs,
        "num_steps": setting.num_steps,
    }
    if values.get("sampling") == "vine":
        values |= vine_of_as_many_steps(
            setting.num_envs, setting.num_steps, values["vine_actions"], branch=16
        )
    return values


def by_gradient(task: str, values: dict, seeds: int, seed: int) -> dict:
    """Train with a variant of the library's own update."""
    where = TASKS[task].environment
    result = train(
        where if isinstance(where, str) else where(),
        total_steps=TASKS[task].total_steps,
        seeds=seeds,
        seed=seed,
        progress=False,
        **values,
    )
    return curve_of(result, POINTS) | {
        "greedy": result.evaluation["greedy"]["mean_per_seed"],
        "train_seconds": result.evaluation["seconds"]["train"],
    }


def without_gradients(
    task: str, method: str, seeds: list[int], spread: list[float]
) -> dict:
    """Search the parameters of the same policy, some searches side by side."""
    setting = TASKS[task]
    environment = setting.make()
    agent = mlp_agent(
        environment.observation_space,
        environment.action_space,
        hidden_sizes=setting.hidden_sizes,
    )
    found = evolve(
        {"CEM": cross_entropy, "CMA": cma}[method](),
        environment,
        agent,
        total_steps=setting.total_steps,
        seeds=np.array(seeds, np.uint32),
        spread=np.array(spread, np.float32),
    )
    grid = np.linspace(0, setting.total_steps, POINTS + 1)[1:]
    steps, returns = found["environment_steps"].T, found["episode_return"].T
    curves = []
    for used, mean in zip(steps, returns, strict=True):
        played = ~np.isnan(mean)
        curve = np.interp(grid, used[played], mean[played])
        curves.append([round(float(x), 2) for x in curve])
    return {
        "environment_steps": grid.astype(int).tolist(),
        "episode_return": curves,
        "steps_used": found["environment_steps"][-1].astype(int).tolist(),
        "greedy": found["greedy"].astype(float).tolist(),
    }


def results() -> dict[str, dict[str, dict]]:
    """Return what is on disk, by task and method."""
    return {
        task: read_all(tuple(METHODS), functools.partial(path_of, task))
        for task in TASKS
    }


def table() -> str:
    """Return the results as Markdown: greedy return of the last policy."""
    lines = [
        "| greedy return, IQM (worst to best) | " + " | ".join(TASKS) + " |",
        "|---|" + "---|" * len(TASKS),
    ]
    found = results()
    for method in METHODS:
        cells = []
        for task in TASKS:
            if method not in found[task]:
                cells.append("")
                continue
            greedy = np.array(found[task][method]["greedy"])
            cells.append(
                f"{interquartile_mean(greedy):.5g} ({greedy.min():.5g} to "
                f"{greedy.max():.5g})"
            )
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw() -> None:
    """Draw the learning curves, a panel a task."""
    found = {task: methods for task, methods in results().items() if methods}
    figure = Figure(figsize=(3.1 * len(found), 3.1), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(found), squeeze=False)[0]
    for axes, (task, methods) in zip(panels, found.items()):
        axes.set_title(task, fontsize=10)
        axes.set_xlabel("thousand simulator steps", fontsize=8)
        axes.tick_params(labelsize=8)
        for i, (method, result) in enumerate(methods.items()):
            returns = np.array(result["episode_return"], float)
            steps = np.array(result["environment_steps"]) / 1000
            middle = np.array(middle_of(returns))
            ended = ~np.isnan(middle)  # some episode has
            dashes = "--" if method in ("CEM", "CMA") else "-"
            axes.plot(
                steps[ended], middle[ended], dashes, color=f"C{i}", lw=1.4, label=method
            )
    panels[0].set_ylabel("mean return", fontsize=8)
    panels[0].legend(fontsize=7)
    figure.savefig(FIGURE)


if __name__ == "__main__":
    tyro.cli(main)
