"""The display of a run: curves on a terminal, plain lines elsewhere."""

import io
import math

import pytest
from rich.console import Console

from rbc_marl.experiments.progress import BLOCKS, CURVE_WIDTH, Curve, Progress


def curve_of(values):
    curve = Curve()
    for value in values:
        curve.add(value)
    return str(curve)


def test_a_curve_goes_from_the_lowest_block_to_the_highest():
    assert curve_of(range(8)) == BLOCKS
    assert curve_of([3, 1, 3]) == "█▁█"


def test_a_curve_of_one_value_or_of_equal_ones_is_flat_or_empty():
    assert curve_of([5]) == ""
    assert curve_of([5, 5, 5]) == "▁▁▁"


@pytest.mark.parametrize("count", [CURVE_WIDTH - 1, CURVE_WIDTH, CURVE_WIDTH + 1, 1000, 12_345])
def test_a_long_curve_keeps_its_shape_and_its_width(count):
    text = curve_of([math.sin(math.pi * i / count) for i in range(count)])
    levels = [BLOCKS.index(block) for block in text]
    assert CURVE_WIDTH // 2 < len(text) <= CURVE_WIDTH
    assert levels[0] <= 1 and levels[len(levels) // 2] == 7 and levels[-1] <= 1
    middle = levels.index(7)
    assert levels[:middle] == sorted(levels[:middle])  # up, then down


def shown_after(iterations, is_terminal):
    file = io.StringIO()
    console = Console(file=file, force_terminal=is_terminal, width=120, color_system=None)
    with Progress("tiny", {"training_iteration": 3}, console=console) as progress:
        for i in range(1, iterations + 1):
            results = {"training_iteration": i, "env_runners/hours": 100.0 * i, "curriculum/phase": "all learn"}
            progress.update(results)
    return file.getvalue()


def test_a_terminal_shows_the_course_of_numbers_and_the_stage():
    text = shown_after(3, is_terminal=True)
    assert "hours" in text and "300          ▁▅█" in text
    assert "all learn" in text


def test_elsewhere_plain_lines_have_no_curves():
    text = shown_after(3, is_terminal=False)
    assert "iteration 3/3" in text and "hours 300" in text and "phase all learn" in text
    assert not set(text) & set(BLOCKS)
