import importlib.metadata
import json
import math

import jax
import pytest

import trpo_jax
from trpo_jax.runs import self_check as module
from trpo_jax.runs.self_check import Check, describe, require_sound_compiler, self_check


def test_this_compiler_is_right():
    checks = self_check()
    assert len(checks) >= 2
    assert all(check.passed for check in checks)
    require_sound_compiler()


def test_every_check_says_what_it_computes_and_what_is_right():
    checks = self_check()
    assert len({check.name for check in checks}) == len(checks)
    for check in checks:
        assert check.result == check.expected
        assert math.isfinite(check.expected)


@pytest.mark.parametrize("result", [1.0 + 1e-12, -1.0, math.nan, math.inf])
def test_a_check_passes_only_when_it_is_exactly_right(result):
    assert Check("one", 1.0, 1.0).passed
    assert not Check("one", result, 1.0).passed


def test_a_compiler_that_adds_wrongly_is_caught(monkeypatch):
    right = module.jnp.sum
    monkeypatch.setattr(module.jnp, "sum", lambda *args, **kw: 2 * right(*args, **kw))
    assert not any(check.passed for check in self_check())
    with pytest.raises(RuntimeError, match="wrong numbers"):
        require_sound_compiler()


def test_a_refusal_names_the_check_both_numbers_and_the_versions(monkeypatch):
    checks = [Check("first", 1.0, 1.0), Check("second", 3.5, 4.0)]
    monkeypatch.setattr(module, "self_check", lambda: checks)
    with pytest.raises(RuntimeError) as error:
        require_sound_compiler()
    message = str(error.value)
    versions = (jax.__version__, importlib.metadata.version("jaxlib"))
    for part in ("second", "3.5", "4.0", jax.default_backend(), *versions):
        assert part in message
    assert "first" not in message
    assert "\n" not in message


def test_the_description_tells_versions_and_devices():
    description = describe()
    assert description["trpo_jax"] == trpo_jax.__version__
    for package in ("jax", "jaxlib", "flax", "optax", "gymnax", "numpy"):
        assert description[package] == importlib.metadata.version(package)
    assert jax.devices()[0].platform in description["device"]
    assert json.loads(json.dumps(description)) == description
