"""The paper's comparison (§8.1, figure 4): `python -m benchmarks.paper_figure4`.

Single path, vine, natural gradient, maximum KL, empirical Fisher matrix, the
cross-entropy method (CEM) and CMA-ES are compared with a linear policy on a cart-pole
and with small networks on a swimmer, a hopper and a walker. All have the same number of
simulator steps, far fewer than in the paper (`PAPER`), and five seeds. The step size of
the natural gradient and the initial standard deviation of CEM, which CMA-ES shares, are
the best of a few on another seed. The curves show returns during training, with sampled
actions; CEM and CMA-ES act greedily. Each task and method has one JSON file in
`benchmarks/results/paper_figure4/`; those that exist are not measured again. At the end
the table is printed and the figure drawn.
"""

import dataclasses
import functools
import json
import pathlib
from typing import Any

import numpy as np
import tyro

from benchmarks.cart_pole import CartPole
from benchmarks.drawing import figure_of_height
from benchmarks.result_files import read_all, write_json
from benchmarks.returns import middle_of
from benchmarks.runs import curve_of, vine_of_as_many_steps
from trpo_jax.agent.standard_agents import default_agent
from trpo_jax.environments import make_environment
from trpo_jax.environments.base import Environment
from trpo_jax.runs.api import train
from trpo_jax.runs.plotting import interquartile_mean
from trpo_jax.runs.self_check import describe

RESULTS = pathlib.Path(__file__).parent / "results" / "paper_figure4"
FIGURE = RESULTS.parent / "paper_figure4.png"
SEEDS, TUNING_SEED, POINTS = 5, 1000, 40
STEP_SIZES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # larger ones while that helps
SPREADS = (0.1, 0.3, 1.0, 3.0)
PAPER = "200 iterations of 50K (swimmer) or 1M (hopper, walker) simulator steps"


@dataclasses.dataclass(frozen=True)
class Task:
    """A task: the environment, the number of steps, the network and the batch."""

    environment: str | type
    total_steps: int
    hidden_sizes: tuple[int, ...]
    num_envs: int
    num_steps: int

    def make(self) -> Environment:
        """Return a new environment of the task."""
        if isinstance(self.environment, str):
            return make_environment(self.environment)
        return self.environment()


TASKS = {
    "cart-pole": Task(CartPole, 300_000, (), 16, 128),
    "swimmer": Task("gymnax:Swimmer-misc", 500_000, (30,), 16, 256),
    "hopper": Task("brax:hopper@spring", 500_000, (50,), 64, 64),
    "walker": Task("brax:walker2d@spring", 500_000, (50,), 64, 64),
}
SHARED = {  # instead of presets; CEM and CMA have no normaliser, so nobody has one
    "normalize_observation": False,
    "log_std_init": 0.0,
    "max_kl": 0.01,
    "final_max_kl": None,
    "discount": 0.99,
    "gae_lambda": 0.97,
    "critic_hidden_sizes": (64, 64),
}
METHODS: dict[str, dict[str, Any]] = {
    "single path": {},
    "vine": {"sampling": "vine", "vine_actions": 4},
    "natural gradient": {"step_rule": "natural_gradient"},
    "max KL": {"kl_constraint": "max"},
    "empirical FIM": {"fisher": "empirical"},
    "CEM": {},
    "CMA": {},
}


def main(
    tasks: tuple[str, ...] = tuple(TASKS), methods: tuple[str, ...] = tuple(METHODS)
) -> None:
    """Measure what has no result yet, then draw and print all results.

    Args:
        tasks: The tasks to run.
        methods: The methods to run.
    """
    for task in tasks:
        for method in methods:
            if not path_of(task, method).exists():
                write_json(path_of(task, method), measure(task, method))
            print(task, method, "done", flush=True)
    print(table())
    draw()


def path_of(task: str, method: str) -> pathlib.Path:
    """Return the file in which the result of a task and a method is stored."""
    return RESULTS / task / f"{method.replace(' ', '-')}.json"


def measure(task: str, method: str) -> dict:
    """Train five seeds, after tuning on another one if the method needs it."""
    if method == "CMA":  # it adapts its spread and starts with that of CEM
        spread = json.loads(path_of(task, "CEM").read_text())["values"]["spread"]
        found = without_gradients(task, method, list(range(SEEDS)), [spread] * SEEDS)
        return found | description(task, method, {"spread": spread})
    if method == "CEM":
        found = without_gradients(
            task, method, [TUNING_SEED] * len(SPREADS), list(SPREADS)
        )
        means = np.nanmean(np.array(found["episode_return"], float), axis=1).tolist()
        tried = dict(zip(SPREADS, means, strict=True))
        spread = max(tried, key=tried.get)
        found = without_gradients(task, method, list(range(SEEDS)), [spread] * SEEDS)
        return found | description(task, method, {"spread": spread, "tried": tried})
    values = values_of(task, method)
    if method != "natural gradient":
        found = by_gradient(task, values, SEEDS, 0)
        return found | description(task, method, values)
    sizes, tried = list(STEP_SIZES), {}
    while sizes:
        size = sizes.pop(0)
        values["step_size"] = size
        tried[size] = mean_of(by_gradient(task, values, 1, TUNING_SEED))
        if not sizes and max(tried, key=tried.get) == size:
            sizes.append(float(f"{size * 10 / 3:.1g}"))  # 10, 30, 100, ...
    values["step_size"] = max(tried, key=tried.get)
    found = by_gradient(task, values, SEEDS, 0)
    return found | description(task, method, values | {"tried": tried})


def mean_of(found: dict) -> float:
    """Return the mean return over the whole training."""
    return float(np.nanmean(np.array(found["episode_return"], float)))


def description(task: str, method: str, values: dict) -> dict:
    """Return what a reader needs to know to repeat a result."""
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
    """Return the hyper-parameters of a method; iterations are equally long for all."""
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
    """Train with a variant of this library's update."""
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
    """Search the parameters of the same policy, with all seeds side by side."""
    from benchmarks.evolution import cma, cross_entropy, evolve  # needs evosax

    setting = TASKS[task]
    environment = setting.make()
    agent = default_agent(
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
    """Return the results on disk, by task and method."""
    return {
        task: read_all(tuple(METHODS), functools.partial(path_of, task))
        for task in TASKS
    }


def table() -> str:
    """Return the results as Markdown: the greedy return of the last policies."""
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
    """Draw the learning curves, a panel for each task."""
    found = {task: methods for task, methods in results().items() if methods}
    with figure_of_height(FIGURE, 3.4) as figure:
        panels = figure.subplots(1, len(found), squeeze=False)[0]
        for axes, (task, methods) in zip(panels, found.items()):
            axes.set_title(task)
            for i, (method, result) in enumerate(methods.items()):
                middle = np.array(middle_of(np.array(result["episode_return"], float)))
                steps = np.array(result["environment_steps"]) / 1000
                ended = ~np.isnan(middle)  # some episode has
                dashes = "--" if method in ("CEM", "CMA") else "-"
                axes.plot(
                    steps[ended], middle[ended], dashes, color=f"C{i}", label=method
                )
        panels[0].set_ylabel("mean return")
        handles = panels[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside upper center", ncols=len(METHODS))
        figure.supxlabel("thousand simulator steps", fontsize="medium")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
