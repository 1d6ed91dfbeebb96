"""Making Gymnasium's vector environments: worker processes on every system."""

import multiprocessing

import pytest

from trpo_jax.environments import gymnasium_make


@pytest.mark.parametrize(
    ("methods", "chosen"),
    [(["fork", "spawn", "forkserver"], "forkserver"), (["spawn"], "spawn")],
)
def test_workers_are_never_forked_and_start_on_windows_too(
    methods, chosen, monkeypatch
):
    asked = {}

    class Vector:
        def __init__(self, makers, **options):
            asked.update(options, number=len(makers))

    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: methods)
    monkeypatch.setattr(gymnasium_make, "AsyncVectorEnv", Vector)
    vector = gymnasium_make.make_vector("CartPole-v1", 3, True, {})
    assert (asked["context"], asked["number"]) == (chosen, 3)
    assert vector.spec.id == "CartPole-v1"
