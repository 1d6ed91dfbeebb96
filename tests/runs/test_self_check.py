import importlib.metadata
import json
import math
import pathlib
import tomllib

import jax
import pytest
from packaging.requirements import Requirement

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


@pytest.mark.parametrize(
    ("jaxlib", "flags", "wrong"),
    [
        ("0.10.1", "", False),
        ("0.11.0", "", True),
        ("0.11.2", "--xla_other=1", True),
        ("0.11.2", "--xla_other=1 --xla_cpu_experimental_ynn_fusion_type=", False),
        ("0.11.2", "--xla_cpu_experimental_ynn_fusion_type=1", True),
        ("0.12.0.1", "", False),
    ],
)
def test_a_version_whose_sums_are_wrong_by_chance_is_always_refused(
    jaxlib, flags, wrong, monkeypatch
):
    monkeypatch.setattr("jaxlib.__version__", jaxlib)
    monkeypatch.setenv("XLA_FLAGS", flags)
    if not wrong:
        assert module.known_fault() is None
        require_sound_compiler()
        return
    with pytest.raises(RuntimeError, match=rf"jaxlib {jaxlib} .*pip install") as error:
        require_sound_compiler()
    assert str(error.value) == module.known_fault()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert module.known_fault() is None


@pytest.mark.parametrize("package", ["jax", "jaxlib"])
def test_pip_installs_no_version_that_is_known_to_be_wrong(package):
    path = pathlib.Path(__file__).parents[2] / "pyproject.toml"
    lines = tomllib.loads(path.read_text("utf-8"))["project"]["dependencies"]
    (allowed,) = [r.specifier for r in map(Requirement, lines) if r.name == package]
    versions = ["0.10.1", "0.10.2", "0.11.0", "0.11.1", "0.11.2", "0.12.0.1"]
    assert list(allowed.filter(versions)) == ["0.10.1", "0.12.0.1"]
