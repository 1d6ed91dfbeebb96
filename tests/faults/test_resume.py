"""Going on, against never having stopped; longer: `python resume_anywhere.py 10`."""

import dataclasses
import json

import numpy as np
import pytest
from test_files import run

import trpo_jax
from trpo_jax import CheckpointError
from trpo_jax.storage import checked_folder, checkpoint

SMALL = {
    "num_envs": 2, "num_steps": 8, "hidden_sizes": (4,), "critic_epochs": 1,
    "evaluation_episodes": 1, "progress": False,
}  # fmt: skip


def test_going_on_from_anywhere_is_never_having_stopped():
    assert "all files equal" in run("resume_anywhere.py", "1")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "one"
    trpo_jax.train(
        "CartPole-v1", total_steps=160, output_dir=directory, checkpoint_every=2,
        keep=9, **SMALL,
    )  # fmt: skip
    return directory


def test_checkpoints_are_at_their_iterations_and_at_the_end(finished):
    assert checkpoint.steps_in(finished / "checkpoints") == [2, 4, 6, 8, 10]


def test_a_run_that_is_done_says_so(finished):
    with pytest.raises(ValueError, match=r"finished after 160 steps.*got 160"):
        trpo_jax.resume(finished, progress=False)
    assert (finished / "evaluation.json").exists()


@pytest.mark.parametrize(
    ("change", "needles"),
    [
        ({"config": {"max_kl": 0.5}}, ["config.max_kl: 0.01 in the checkpoint", "0.5"]),
        ({"network": {"hidden_sizes": [5]}}, ["network.hidden_sizes", "[4]", "[5]"]),
        ({"environment": "gymnax:Acrobot-v1"}, ["environment", "Acrobot-v1"]),
        ({"run": {"seed": 3}}, ["seed: 0 in the checkpoint, 3 now"]),
    ],
    ids=str,
)
def test_a_changed_configuration_is_refused(change, needles, finished):
    path = finished / "config.json"
    content = path.read_text()
    plan = json.loads(content)
    for key, value in change.items():
        plan[key] = plan[key] | value if isinstance(value, dict) else value
    before = sorted(finished.rglob("*"))
    path.write_text(json.dumps(plan))
    try:
        with pytest.raises(CheckpointError) as error:
            trpo_jax.resume(finished, total_steps=320, progress=False)
    finally:
        path.write_text(content)
    for needle in needles:
        assert needle in str(error.value)
    assert sorted(finished.rglob("*")) == before


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", "{}", '{"environment": 3}', "[" * 100_000, "\ufeff{}"],
)
def test_a_description_that_is_none_is_refused(content, finished):
    path = finished / "config.json"
    kept = path.read_text()
    path.write_text(content)
    try:
        with pytest.raises(ValueError, match=r"config.json does not describe a run"):
            trpo_jax.resume(finished, progress=False)
    finally:
        path.write_text(kept)


def test_a_damaged_checkpoint_is_named_and_an_earlier_one_used(finished, capfd):
    newest = finished / "checkpoints" / "000000000010" / checked_folder.ARRAYS
    newest.write_bytes(newest.read_bytes()[:-1])
    result = trpo_jax.resume(finished, total_steps=192, progress=False)
    said = capfd.readouterr().err
    assert "000000000010 is damaged" in said
    assert "an earlier one is used" in said
    assert result.metrics.kl.shape == (1, 12)
    lines = (finished / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["iteration"] for line in lines] == [*range(1, 13)]


def test_an_environment_and_an_agent_of_your_own(tmp_path):
    environment = trpo_jax.make_environment("probe:policy")
    agent = trpo_jax.default_agent(
        environment.observation_space, environment.action_space, hidden_sizes=(4,)
    )
    values = {key: SMALL[key] for key in SMALL if key != "hidden_sizes"}
    whole = trpo_jax.train(
        environment, agent=agent, total_steps=96, output_dir=tmp_path / "w", **values
    )
    trpo_jax.train(
        environment, agent=agent, total_steps=48, output_dir=tmp_path / "h", **values
    )
    result = trpo_jax.resume(
        tmp_path / "h", total_steps=96, environment=environment, agent=agent,
        progress=False,
    )  # fmt: skip
    np.testing.assert_allclose(result.metrics.kl, whole.metrics.kl, rtol=1e-5)
    assert dataclasses.asdict(result.plan.config) == dataclasses.asdict(
        whole.plan.config
    )


def test_simulators_on_the_host_start_new_episodes(tmp_path, capfd):
    values = SMALL | {"critic_minibatch_size": 8}
    trpo_jax.train(
        "gymnasium:CartPole-v1", total_steps=48, output_dir=tmp_path / "run", **values
    )
    result = trpo_jax.resume(tmp_path / "run", total_steps=96, progress=False)
    assert "the simulators start new episodes" in capfd.readouterr().err
    assert result.metrics.kl.shape == (1, 6)
    assert int(result.state.iteration[0]) == 6
