"""The helpers that compute the numbers of the README, against values found by hand."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import (
    ablations,
    figures,
    result_files,
    returns,
    runs,
    throughput,
    time_to_solve,
)
from trpo_jax.config import Config
from trpo_jax.environments.action_repeat import ActionRepeat
from trpo_jax.runs.plan import make_plan


def metrics(episodes, episode_return):
    return SimpleNamespace(
        episodes=np.array([episodes]), episode_return=np.array([episode_return], float)
    )


@pytest.mark.parametrize(
    ("count", "mean"),
    [
        (1, 8.0),  # the last iteration with an episode has two
        (2, 8.0),
        (3, (2 * 8.0 + 1 * 5.0) / 3),
        (9, (2 * 8.0 + 1 * 5.0 + 3 * 1.0) / 6),  # there are no more
    ],
)
def test_last_episodes_counts_episodes_and_not_iterations(count, mean):
    ran = metrics([3, 0, 1, 2, 0], [1.0, 0.0, 5.0, 8.0, 0.0])
    assert returns.last_episodes(ran, count) == [pytest.approx(mean)]


def test_where_no_episode_ended_there_is_no_mean():
    assert returns.last_episodes(metrics([0, 0], [0.0, 0.0])) == [None]
    assert returns.mean_return(np.zeros(2, int), np.zeros(2)) is None


def test_every_episode_has_the_same_weight_in_a_point_of_a_curve():
    assert returns.mean_return(np.array([1, 3, 0]), np.array([8.0, 4.0, 99.0])) == 5.0


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(returns, "RESULTS", tmp_path)
    monkeypatch.setitem(returns.FIRST_SEED, "envpool:Ant-v4", 10)
    monkeypatch.setitem(returns.SEEDS, "envpool:Ant-v4", 3)

    def write(seed, mean, max_kl=0.1):
        scores = {"mean_per_seed": [mean], "iqm": mean, "ci95": [mean, mean]}
        plan = {"run": {"seed": seed}, "config": {"max_kl": max_kl}, "network": {}}
        content = {
            "total_steps": 4,
            "unfinished_episodes": 1,
            "plan": plan,
            "greedy": scores,
            "sampled": scores,
            "last_100_training_episodes": [mean + 1],
            "curve": {"environment_steps": [4], "episode_return": [[mean]]},
        }
        result_files.write_json(returns.path_of("envpool:Ant-v4", seed), content)

    return write


def test_the_seeds_of_the_table_are_joined_and_no_others(results):
    for seed, mean in ((0, 1e6), (10, 1.0), (12, 5.0), (13, 1e6)):
        results(seed, mean)
    result = returns.load("envpool:Ant-v4")
    assert result["greedy"]["mean_per_seed"] == [1.0, 5.0]
    assert result["greedy"]["iqm"] == pytest.approx(3.0)
    assert result["last_100_training_episodes"] == [2.0, 6.0]
    assert result["curve"]["episode_return"] == [[1.0], [5.0]]
    assert result["unfinished_episodes"] == 2
    (row,) = (x for x in returns.table().splitlines() if x.startswith("| envpool:Ant"))
    assert row.split(" | ")[1:3] == ["4", "2"]
    assert row.split(" | ")[4:6] == ["3.0", "1.0"]  # mean and worst


def test_seeds_with_other_values_are_not_joined(results):
    results(10, 1.0)
    results(11, 1.0, max_kl=0.2)
    with pytest.raises(ValueError, match="not trained with the same values"):
        returns.load("envpool:Ant-v4")


def test_a_file_of_results_is_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        result_files.write_json(tmp_path / "x.json", {"mean": float("nan")})
    assert not (tmp_path / "x.json").exists()


def test_a_plan_of_version_0_1_has_the_settings_of_the_same_plan_today():
    old = {
        "seed": 3,
        "config": {
            "method": "trpo",
            "divergence": "max_kl",
            "max_kl": 0.04,
            "max_kl_final": 0.05,
            "critic_method": "trust_region",
            "critic_learning_rate_final": 1.0,
            "critic_learning_rate": 1e-3,
            "common_random_numbers": True,
            "schedule_iterations": 0,
        },
        "network": {"hidden_sizes": [32]},
    }
    today = make_plan(
        "probe:value",
        kl_constraint="max",
        max_kl=0.04,
        final_max_kl=0.002,
        critic_method="gauss_newton",
        hidden_sizes=(32,),
    ).as_json()
    for name in ("num_envs", "num_steps", "fisher_fraction"):  # values of the preset
        old["config"][name] = today["config"][name]
    assert result_files.settings_of(old) == result_files.settings_of(today)


def test_an_ablation_of_an_earlier_preset_is_refused(tmp_path, monkeypatch):
    pytest.importorskip("envpool")
    monkeypatch.setattr(ablations, "RESULTS", tmp_path)
    name, change, seed = "envpool:Hopper-v4", "γ = 0.99", ablations.SEEDS[0]
    values = ablations.THEN[name] | ablations.CHANGES[change]
    plan = ablations.make_plan(name, total_steps=ablations.STEPS, **values).as_json()
    path = ablations.path_of(name, change, seed)
    content = {"greedy": {"mean_per_seed": [7.0]}, "plan": plan}
    result_files.write_json(path, content)
    assert ablations.returns_of(name, change).tolist() == [7.0]
    plan["config"]["max_kl"] *= 2
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="earlier preset"):
        ablations.returns_of(name, change)


def test_a_change_that_makes_no_difference_to_the_preset_is_not_run():
    assert ablations.changes_something("envpool:Hopper-v4", ablations.PRESET)
    assert not ablations.changes_something("envpool:Hopper-v4", "γ = 0.995")
    assert ablations.changes_something("envpool:Hopper-v4", "γ = 0.99")


@pytest.mark.parametrize(
    "path", [(16, 64, 2, 4), (6, 67, 4, 4), (64, 32, 4, 4), (7, 9, 2, 2)]
)
def test_a_vine_has_no_more_steps_than_the_path_and_hardly_fewer(path):
    num_envs, num_steps, actions, branch = path
    values = runs.vine_of_as_many_steps(*path)
    steps = Config(**values).steps_per_iteration
    one_state_more = values["num_envs"] * actions * branch
    assert steps <= num_envs * num_steps < steps + one_state_more


def test_too_short_a_path_for_a_vine_is_refused():
    with pytest.raises(ValueError, match="4 x 6 steps are too few"):
        runs.vine_of_as_many_steps(4, 6, 4, 4)


def test_medians_of_seconds_count_runs_that_solved_nothing_as_endless():
    solved = {"steps": 100, "train_seconds": 2.0, "wall_seconds": 3.0}
    faster = {"steps": 60, "train_seconds": 1.0, "wall_seconds": 2.0}
    never = dict.fromkeys(solved)
    runs = {
        "trpo_jax": {"0": faster, "1": faster, "2": never},
        "peer": {"0": solved, "1": solved, "2": solved},
        "lost": {"0": never, "1": solved, "2": never},
    }
    table = time_to_solve.summary(runs)
    assert table["trpo_jax"]["solved"] == "2 of 3"
    assert table["peer"]["train_seconds, times ours"] == 2
    assert table["peer"]["wall_seconds, times ours"] == 1.5
    assert table["lost"]["solved"] == "1 of 3"
    assert table["lost"]["steps"] is table["lost"]["train_seconds"] is None
    json.dumps(table, allow_nan=False)


def test_seconds_where_our_own_side_never_solved_it():
    never = dict.fromkeys(("steps", "train_seconds", "wall_seconds"))
    table = time_to_solve.summary(
        {
            "trpo_jax": {"0": never},
            "peer": {"0": {"steps": 1, "train_seconds": 1.0, "wall_seconds": 1.0}},
        }
    )
    assert table["peer"]["train_seconds"] == 1
    json.dumps(table, allow_nan=False)


def test_growth_is_measured_at_its_end():
    sizes = [1, 4, 16, 64, 256]
    assert throughput.exponent(sizes, [9.0, 9.0, *(n**1.5 for n in sizes[2:])]) == 1.5


def test_figures_of_what_is_measured_so_far(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "RESULTS", tmp_path)
    row = {"steps": 1, "train_seconds": 0.05, "wall_seconds": 4.0}
    lost = dict.fromkeys(row)
    (tmp_path / "time_to_solve.json").write_text(
        json.dumps({"CartPole-v1": {"median": {"trpo_jax": row, "sb3_ppo": lost}}})
    )
    (tmp_path / "throughput.json").write_text(
        json.dumps(
            {
                "seeds": {
                    str(n): {"steps_per_second": 1, "iteration_seconds": n / 8}
                    for n in (1, 2, 4)
                },
                "exponent": {"seeds": 1.0},
            }
        )
    )
    for draw in (figures.draw_seconds, figures.draw_growth):
        draw(tmp_path / "figure.png")
        assert (tmp_path / "figure.png").stat().st_size > 5000


def test_a_timed_training_holds_actions_as_its_preset_does(monkeypatch):
    made = []
    monkeypatch.setattr(runs, "CompiledPrograms", lambda *args: made.append(args))
    plan, environment, _ = runs.Training("Acrobot-v1") and made[0]
    assert plan.config.action_repeat == 2
    assert isinstance(environment, ActionRepeat) and environment.repeat == 2
