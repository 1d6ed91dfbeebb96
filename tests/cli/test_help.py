"""The help texts, as they are in help.txt beside this file.

`python tests/cli/test_help.py` writes help.txt anew; its difference shows what changed.
"""

import contextlib
import dataclasses
import io
import os
import pathlib
import re
import shlex

import pytest

from trpo_jax.cli import main
from trpo_jax.cli.arguments import arguments_of
from trpo_jax.cli.options import COMMANDS
from trpo_jax.config import Config, NetworkConfig, RunConfig
from trpo_jax.config.groups import Group

SNAPSHOT = pathlib.Path(__file__).with_name("help.txt")
WIDTHS = (80, 120)
LINES = [[], *([name] for name in COMMANDS)]


def help_text(words, width):
    """Return what the command prints in a terminal of this width."""
    before, output = os.environ.get("COLUMNS"), io.StringIO()
    os.environ["COLUMNS"] = str(width)
    try:
        with contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
            main.main([*words, "--help"])
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before
    return output.getvalue()


def snapshot():
    parts = []
    for width in WIDTHS:
        for words in LINES:
            title = " ".join(["trpo-jax", *words, "--help"])
            parts.append(f"$ COLUMNS={width} {title}\n{help_text(words, width)}")
    return "\n".join(parts)


def test_the_help_is_that_of_the_snapshot():
    same = snapshot() == SNAPSHOT.read_text("utf-8")
    assert same, "if the change is meant: python tests/cli/test_help.py"


def entries(text):
    """Return the lines below each option or argument."""
    found = re.findall(r"^  \S.*\n((?:      .*\n?)+)", text, re.MULTILINE)
    return [[line.strip() for line in lines.splitlines()] for lines in found]


@pytest.mark.parametrize("words", LINES, ids=str)
@pytest.mark.parametrize("width", [*WIDTHS, 300])
def test_a_paragraph_fills_the_lines_whatever_its_source_looks_like(words, width):
    text, limit = help_text(words, width), min(width, 120)
    assert all(len(line) <= limit for line in text.splitlines())
    for lines in entries(text):
        for line in lines[:-1]:  # what does not fit any more is a formula at most
            assert len(line) + 6 > limit - 40


@pytest.mark.parametrize("words", LINES, ids=str)
def test_the_words_do_not_depend_on_the_width(words):
    narrow, *others = (help_text(words, width).split() for width in (40, *WIDTHS))
    assert all(other == narrow for other in others)


def headings(text):
    return re.findall(r"^(?! )(?!usage)(?:\S.*)[:?]$", text, re.MULTILINE)


def test_what_people_use_comes_first_and_the_vine_last():
    text = help_text(["train"], 80)
    first = ["Examples:", "Arguments:", *(group.value for group in Group)]
    assert headings(text) == first
    flags = re.findall(r"^  (--[\w-]+)", text, re.MULTILINE)
    assert flags[:4] == ["--total-steps", "--seeds", "--seed", "--output-dir"]
    assert text.index("  ENVIRONMENT\n") < text.index("--total-steps N")
    assert all(flag.startswith("--vine-") for flag in flags[-6:])
    order = ["--max-kl", "--num-envs", "--critic-method", "--hidden-sizes"]
    assert sorted(order, key=flags.index) == order


def test_every_option_has_one_entry_with_a_sentence():
    for name, kind in COMMANDS.items():
        text = help_text([name], 80)
        for argument in arguments_of(kind):
            for flag in argument.flags or [argument.rule.metavar.strip("[]")]:
                heads = re.findall(rf"^  (?:--.*, )?{re.escape(flag)}(?=[ ,\n])", text,
                                   re.MULTILINE)  # fmt: skip
                assert len(heads) == 1, flag
    options = [f for kind in (RunConfig, Config, NetworkConfig)
               for f in dataclasses.fields(kind)]  # fmt: skip
    others = ["ENVIRONMENT", "--config-file", "--quiet", "--help"]
    assert len(entries(help_text(["train"], 80))) == len(options) + len(others)


def test_an_option_has_the_heading_of_its_group():
    groups = {a.name: a.group for a in arguments_of(COMMANDS["train"])}
    assert groups["environment"] is None
    assert groups["seed"] is groups["quiet"] is Group.RUN
    assert groups["kl_constraint"] is Group.TRUST_REGION
    assert groups["simulator_timeout"] is Group.FAILURES
    assert None not in {group for name, group in groups.items() if "_" in name}


def test_no_word_of_the_implementation_is_in_a_help_text():
    text = SNAPSHOT.read_text("utf-8")
    for word in (
        "pytree",
        "lea(f|ves)",
        "static",
        "jax.vmap",
        r"\{None\}",
        "STR",
        "INT",
    ):
        assert not re.search(rf"\b{word}\b", text), word


def examples(text):
    return [
        line.strip() for line in text.splitlines() if line.startswith("    trpo-jax")
    ]


@pytest.mark.parametrize("words", LINES, ids=str)
def test_the_examples_can_be_typed(words):
    found = examples(help_text(words, 80))
    assert len(found) >= (5 if words in ([], ["train"]) else 0)
    for line in found:
        program, command, *rest = shlex.split(line)
        assert program == "trpo-jax"
        if "--config-file" in rest:
            rest = rest[: rest.index("--config-file")]
        main._parse([command, *rest])


def test_a_metavar_says_what_a_value_is():
    text = help_text(["train"], 80)
    for head in (
        *("--total-steps N", "--output-dir DIR", "--config-file FILE"),
        *("--max-kl FLOAT", "--hidden-sizes N...", "--fisher {analytic,empirical}"),
        "--scale-reward, --no-scale-reward",
    ):
        assert f"\n  {head}\n" in text
    assert help_text(["resume"], 80).startswith(
        "usage: trpo-jax resume RUN [OPTIONS]\n"
    )


if __name__ == "__main__":
    SNAPSHOT.write_text(snapshot(), "utf-8")
