import decimal
import fractions

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trpo_jax.cli import main
from trpo_jax.cli.arguments import parse_arguments, whole_number
from trpo_jax.cli.options import Train


@given(st.integers(-(10**50), 10**50))
def test_an_integer_is_read_in_every_notation(number):
    assert whole_number(str(number)) == whole_number(f"{number:_}") == number
    assert whole_number(f"{decimal.Decimal(number):e}") == number
    assert whole_number(f"{number}.0") == number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_read_if_it_is_whole_and_refused_otherwise(number):
    exact = fractions.Fraction(repr(number))
    if exact.denominator == 1 and abs(number) < 1e100:
        assert whole_number(repr(number)) == exact
    else:
        with pytest.raises(ValueError, match="no integer"):
            whole_number(repr(number))


@pytest.mark.parametrize(
    ("text", "number"),
    [("1e6", 10**6), ("1_000_000", 10**6), ("1E6", 10**6), ("2.5e3", 2500), ("+7", 7)],
)
def test_numbers_as_people_write_them(text, number):
    line = ["CartPole-v1", "--total-steps", text]
    assert parse_arguments("train", Train, line)["total_steps"] == number
    assert type(main._parse(["train", *line]).run.total_steps) is int


@pytest.mark.parametrize("text", ["1e6", "1000000.0", "1_000_000"])
def test_a_file_may_write_them_so_as_well(text, tmp_path):
    path = tmp_path / "values.toml"
    path.write_text(f"[run]\ntotal_steps = {text}\n[config]\nmax_kl = 1.0")
    command = main._parse(["train", "CartPole-v1", "--config-file", str(path)])
    assert command.run.total_steps == 10**6
    assert type(command.run.total_steps) is int
    assert type(command.config.max_kl) is float


@pytest.mark.parametrize("name", ["CartPole-v1", "gymnax:CartPole-v1"])
def test_a_file_may_name_the_environment_that_is_trained(name, tmp_path):
    path = tmp_path / "values.toml"
    path.write_text(f'environment = "{name}"\nmax_kl = 0.5')
    command = main._parse(["train", "CartPole-v1", "--config-file", str(path)])
    assert command.config.max_kl == 0.5


def test_quiet_is_off_unless_it_is_asked_for():
    assert not main._parse(["train", "CartPole-v1"]).quiet
    assert main._parse(["train", "--quiet", "CartPole-v1"]).quiet
    assert main._parse(["resume", "run", "--quiet"]).quiet
