"""Schedules: the published ones against their published numbers, and what a file can say of its own."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from rbc_marl import ConfigError, preset
from rbc_marl.choices import choice_tables
from rbc_marl.config import AGENT_TYPES
from rbc_marl.curriculum import NAMED_CURRICULA, Curriculum, Phase, build_curriculum, paper_curriculum
from rbc_marl.curriculum.parts import Courses
from rbc_marl.economy import PARAMETERS

HOST_MATH = np.load(Path(__file__).parent / "golden" / "host_math.npz")
# The published schedules, and one whose stages change every ten iterations.
SCHEDULES = {
    "short": NAMED_CURRICULA["paper_short"],
    "long": NAMED_CURRICULA["paper_long"],
    "tiny": paper_curriculum(10, 30000),
}
OPEN = preset("open")


def golden(schedule: str, name: str) -> np.ndarray:
    return HOST_MATH[f"schedule_{schedule}_{name}"]


@pytest.mark.parametrize("schedule", SCHEDULES)
class TestPublishedSchedules:
    def phases(self, schedule: str) -> list[Phase]:
        curriculum = build_curriculum(SCHEDULES[schedule], OPEN)
        assert curriculum is not None
        return [curriculum.phase(int(episode)) for episode in golden(schedule, "episode")]

    def test_masks_allow_what_the_published_ones_allow(self, schedule):
        for agent_type in ("firm", "government"):
            allowed = [phase.masks(OPEN)[agent_type].numpy() for phase in self.phases(schedule)]
            np.testing.assert_array_equal(np.stack(allowed), golden(schedule, f"{agent_type}_mask") == 0)

    def test_labour_disutility_is_annealed_alike(self, schedule):
        factors = [phase.labour_disutility for phase in self.phases(schedule)]
        np.testing.assert_allclose(factors, golden(schedule, "theta_coef"), rtol=1e-6, atol=1e-12)

    @pytest.mark.parametrize("agent_type", AGENT_TYPES)
    def test_types_learn_and_explore_alike(self, schedule, agent_type):
        phases, trains = self.phases(schedule), golden(schedule, f"{agent_type}_trains")
        np.testing.assert_array_equal([agent_type in phase.learning for phase in phases], trains)
        factors = np.array([phase.entropy[agent_type] for phase in phases])
        np.testing.assert_allclose(factors[trains], golden(schedule, f"{agent_type}_entropy_coef")[trains], rtol=1e-6)


def test_a_widened_mask_is_open_to_the_last_choice_whatever_floats_make_of_the_sums():
    assert 0.4 + (1.7 - 0.4) < 1.7
    economy = OPEN.replace(price_choices=(0.1, 0.4, 1.7), wage_choices=(0.1, 0.9))
    given = {"prices": {"around": 0.4, "end": 5}, "wages": {"around": 0.9, "end": 0}}
    curriculum = build_curriculum(given, economy)
    assert curriculum.phase(5).price == (0.1, 1.7) and curriculum.phase(0).wage == (0.1, 0.9)
    assert curriculum.phase(5).masks(economy)["firm"].all() and not curriculum.phase(4).masks(economy)["firm"].all()


def test_without_parts_everything_is_allowed_from_the_start():
    phase = build_curriculum({}, OPEN).phase(0)
    assert phase.learning == frozenset(AGENT_TYPES)
    assert all(mask.all() for mask in phase.masks(OPEN).values())
    assert (phase.labour_disutility, phase.learning_rate) == (1.0, 1.0)
    assert set(phase.entropy.values()) == {1.0}


@pytest.mark.parametrize(
    ("part", "given", "changes"),
    [
        ("start", {"firm": 5}, {"learning"}),
        ("prices", {"around": 1000, "end": 10}, {"price"}),
        ("wages", {"around": 22, "end": 10}, {"wage"}),
        ("taxes", {"end": 10}, {"highest_tax"}),
        ("taxes", {"fixed": {"income": 0.4, "corporate": 0.8}}, {"fixed_taxes", "learning"}),
        ("labour_disutility", {"decay": 5}, {"labour_disutility"}),
        ("entropy", {"decay": 5}, {"entropy"}),
        ("learning_rate", {"begin": 0, "end": 4}, {"learning_rate"}),
        ("economy", {"crra": {"from": 0.5, "end": 4}}, {"economy"}),
    ],
)
def test_each_part_alone_changes_what_it_names_and_nothing_else(part, given, changes):
    plain, varied = (build_curriculum(curriculum, OPEN).phase(3) for curriculum in ({}, {part: given}))
    assert {name for name in vars(Phase()) if getattr(plain, name) != getattr(varied, name)} == changes


def test_every_part_has_opened_when_its_time_is_over():
    curriculum = build_curriculum({"prices": {"around": 1000, "end": 3}, "taxes": {"begin": 2, "end": 4}}, OPEN)
    assert curriculum.phase(3).masks(OPEN)["firm"].all()
    assert not curriculum.phase(3).masks(OPEN)["government"].all()
    assert curriculum.phase(4).masks(OPEN)["government"].all()


def test_taxes_are_held_at_nothing_before_they_open():
    mask = build_curriculum({"taxes": {"begin": 5, "end": 9}}, OPEN).phase(5).masks(OPEN)["government"]
    assert mask.nonzero().flatten().tolist() == [0]


def fixed_rates(curriculum, iteration, config=OPEN):
    """The one pair of rates that the government can choose."""
    (index,) = curriculum.phase(iteration).masks(config)["government"].nonzero().flatten().tolist()
    return tuple(round(float(rate), 6) for rate in choice_tables(config).government[index])


def test_fixed_taxes_rise_with_what_is_open_until_they_are_reached():
    curriculum = build_curriculum({"taxes": {"begin": 10, "end": 20, "fixed": {"income": 0.4, "corporate": 0.8}}}, OPEN)
    rates = {0: (0.0, 0.0), 12: (0.2, 0.2), 13: (0.2, 0.2), 14: (0.4, 0.4), 16: (0.4, 0.6), 18: (0.4, 0.8)}
    assert {iteration: fixed_rates(curriculum, iteration) for iteration in rates} == rates
    assert fixed_rates(curriculum, 1000) == (0.4, 0.8)


def test_fixed_taxes_without_a_widening_hold_from_the_first_iteration():
    curriculum = build_curriculum({"taxes": {"fixed": {"income": 1, "corporate": 0}}}, OPEN)
    assert fixed_rates(curriculum, 0) == (1.0, 0.0)


def test_every_pair_of_rates_that_the_government_can_choose_can_be_fixed():
    for income in OPEN.income_tax_choices:
        for corporate in OPEN.corporate_tax_choices:
            curriculum = build_curriculum({"taxes": {"fixed": {"income": income, "corporate": corporate}}}, OPEN)
            assert fixed_rates(curriculum, 0) == (income, corporate)


def test_a_government_whose_taxes_are_fixed_never_learns():
    curriculum = build_curriculum({"taxes": {"end": 4, "fixed": {"income": 0.2, "corporate": 0.2}}}, OPEN)
    assert [curriculum.phase(i).learning for i in (0, 4, 99)] == [frozenset({"consumer", "firm"})] * 3
    described = [curriculum.phase(i).describe() for i in (0, 4)]
    assert described[0] == "consumer and firm learning, no taxes on the way to 20% and 20%"
    assert described[1] == "consumer and firm learning, taxes fixed at 20% and 20%"


def test_the_entropy_of_types_that_are_left_out_stays():
    phase = build_curriculum({"entropy": {"decay": 1, "types": ["consumer"]}}, OPEN).phase(50)
    assert phase.entropy == {"consumer": 0.1, "firm": 1.0, "government": 1.0}


def test_entropy_never_decays_faster_than_its_absolute_floor():
    fast = build_curriculum({"entropy": {"decay": 1, "at_least": 100}}, OPEN).phase(50)
    assert math.isclose(fast.entropy["consumer"], math.exp(-0.5))


def test_learning_rates_fall_linearly_to_their_floor():
    curriculum = build_curriculum({"learning_rate": {"begin": 10, "end": 20, "floor": 0.2}}, OPEN)
    assert [round(curriculum.phase(i).learning_rate, 6) for i in (0, 10, 15, 20, 99)] == [1.0, 1.0, 0.6, 0.2, 0.2]


def test_learning_rates_can_fall_from_the_start_of_each_types_own_learning():
    decay = {"begin": 10, "end": 20, "floor": 0.2, "from_start": True}
    curriculum = build_curriculum({"start": {"firm": 5, "government": 30}, "learning_rate": decay}, OPEN)
    rates = [{t: round(curriculum.phase(i).rate(t), 6) for t in AGENT_TYPES} for i in (10, 15, 20, 30, 45, 50)]
    assert [rate["consumer"] for rate in rates] == [1.0, 0.6, 0.2, 0.2, 0.2, 0.2]
    assert [rate["firm"] for rate in rates] == [1.0, 1.0, 0.6, 0.2, 0.2, 0.2]
    assert [rate["government"] for rate in rates] == [1.0, 1.0, 1.0, 1.0, 0.6, 0.2]


def test_learning_rates_can_differ_between_types():
    rates = [
        {"begin": 0, "end": 10, "floor": 0.5, "types": ["firm"], "from_start": True},
        {"begin": 4, "end": 8, "floor": 0.0, "types": ["government", "consumer"]},
    ]
    curriculum = build_curriculum({"start": {"firm": 2}, "learning_rate": rates}, OPEN)
    assert curriculum.phase(0).learning_rate == {"consumer": 1.0, "firm": 1.0, "government": 1.0}
    assert curriculum.phase(7).learning_rate == {"consumer": 0.25, "firm": 0.75, "government": 0.25}


def test_a_module_that_is_no_agent_type_follows_only_what_holds_for_all():
    assert Phase(learning_rate=0.5).rate("mine") == 0.5
    assert Phase(learning_rate={"consumer": 0.5, "firm": 1.0, "government": 1.0}).rate("mine") == 1.0


def test_a_phase_reports_one_rate_or_each_types():
    common = build_curriculum({"learning_rate": {"begin": 0, "end": 4, "floor": 0.0}}, OPEN).phase(1).report()
    assert common["learning_rate"] == 0.75 and "learning_rate_firm" not in common
    own = {"begin": 0, "end": 4, "floor": 0.0, "from_start": True}
    curriculum = build_curriculum({"start": {"firm": 1}, "learning_rate": own}, OPEN)
    for iteration, consumer, firm in ((0, 1.0, 1.0), (2, 0.5, 0.75), (9, 0.0, 0.0)):
        report = curriculum.phase(iteration).report()
        assert (report["learning_rate_consumer"], report["learning_rate_firm"]) == (consumer, firm)
        assert "learning_rate" not in report


def test_entropy_falls_in_segments():
    segments = [{"decay": 100, "floor": 0.1}, {"begin": 600, "end": 880, "floor": 0.002}]
    curriculum = build_curriculum({"start": {"firm": 100}, "entropy": segments}, OPEN)

    def factor(iteration, agent_type="consumer"):
        return round(curriculum.phase(iteration).entropy[agent_type], 9)

    assert [factor(i) for i in (0, 500, 600)] == [1.0, 0.1, 0.1]
    assert [factor(i) for i in (670, 740, 880, 2000)] == [0.0755, 0.051, 0.002, 0.002]
    assert factor(150, "firm") == round(math.exp(-0.5), 9)
    assert factor(740, "firm") == 0.051


def test_a_segment_of_entropy_can_count_from_a_types_start_and_leaves_other_types_alone():
    fall = {"begin": 10, "end": 20, "floor": 0.0, "from_start": True, "types": ["firm"]}
    curriculum = build_curriculum({"start": {"firm": 5}, "entropy": fall}, OPEN)
    assert [curriculum.phase(i).entropy["firm"] for i in (15, 20, 25)] == [1.0, 0.5, 0.0]
    assert curriculum.phase(25).entropy["consumer"] == 1.0


def test_no_segment_raises_what_the_one_before_it_leaves():
    segments = [{"decay": 1, "floor": 0.1}, {"begin": 0, "end": 10, "floor": 0.5}, {"decay": 1, "floor": 0.3}]
    phase = build_curriculum({"entropy": segments}, OPEN).phase(20)
    assert set(phase.entropy.values()) == {0.1}


def test_one_segment_in_a_list_is_that_segment():
    for part, decay in (("entropy", {"decay": 7.0}), ("learning_rate", {"begin": 2, "end": 9})):
        alone, listed = (build_curriculum({part: given}, OPEN) for given in (decay, [decay]))
        assert all(alone.phase(i) == listed.phase(i) for i in range(12))


def test_numbers_of_the_economy_move_linearly_to_a_value_or_to_the_economys_own():
    courses = {"export_quota": {"from": 100, "to": 0, "begin": 300, "end": 500}, "crra": {"from": 0.5, "end": 10}}
    curriculum = build_curriculum({"economy": courses}, OPEN.replace(crra=0.3))
    numbers = [curriculum.phase(i).economy for i in (0, 5, 10, 300, 400, 500, 900)]
    assert [each["export_quota"] for each in numbers] == [100.0, 100.0, 100.0, 100.0, 50.0, 0.0, 0.0]
    assert [each["crra"] for each in numbers] == [0.5, 0.4, 0.3, 0.3, 0.3, 0.3, 0.3]
    assert curriculum.phase(400).own_economy().economy == {}


def test_a_phase_says_what_the_economy_is():
    curriculum = build_curriculum({"economy": {"export_quota": {"from": 100, "to": 0, "end": 8}}}, OPEN)
    assert curriculum.phase(5).describe() == "all learn, export_quota 37.5"
    assert curriculum.phase(5).report()["export_quota"] == 37.5
    assert build_curriculum({}, OPEN).phase(5).describe() == "all learn"


def test_all_that_can_vary_can_move():
    assert set(Courses.model_fields) == set(PARAMETERS)


def test_labour_disutility_has_one_factor_however_it_moves():
    scale = {"labour_disutility_scale": {"from": 0.5, "end": 8}}
    phase = build_curriculum({"economy": scale}, OPEN).phase(4)
    assert phase.labour_disutility == 0.75 and phase.economy == {}
    assert phase.parameters() == phase.own_economy().parameters() == {"labour_disutility_scale": 0.75}
    annealed = build_curriculum({"labour_disutility": {"decay": 4}, "economy": {"crra": {"from": 0.5, "end": 8}}}, OPEN)
    assert annealed.phase(4).parameters() == {"labour_disutility_scale": -math.expm1(-1), "crra": 0.3}


def test_a_curriculum_as_plain_data_makes_it_again():
    curriculum = Curriculum(economy={"crra": {"from": 0.5, "end": 8}}, entropy=[{"decay": 3.0}, {"begin": 2, "end": 4}])
    data = curriculum.model_dump(exclude_none=True)
    assert data["economy"] == {"crra": {"from": 0.5, "begin": 0, "end": 8}}
    assert build_curriculum(data, OPEN) == build_curriculum(curriculum, OPEN)


def test_types_that_wait_can_act_at_random():
    curriculum = build_curriculum({"start": {"firm": 5}, "before": {"firm": "random"}}, OPEN)
    assert curriculum.phase(4).random == {"firm"}
    assert curriculum.phase(5).random == frozenset()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"taxs": {}}, 'curriculum.taxs is not a part of a curriculum; did you mean "taxes"'),
        ({"start": {"firms": 3}}, 'curriculum.start.firms is not a part of a curriculum; did you mean "firm"'),
        ({"start": {"firm": -1}}, "curriculum.start.firm is -1"),
        ({"start": {"firm": "3"}}, "curriculum.start.firm is '3'"),
        ({"taxes": {"begin": 4, "end": 2}}, "curriculum.taxes.end is 2, before begin 4"),
        ({"learning_rate": {"begin": 4, "end": 4}}, "curriculum.learning_rate.end is 4, not after begin 4"),
        ({"prices": {"end": 2}}, "curriculum.prices.around is missing"),
        ({"taxes": {}}, "curriculum.taxes.end is missing"),
        ({"taxes": {"begin": 3, "fixed": {"income": 0, "corporate": 0}}}, "curriculum.taxes.end is missing"),
        ({"taxes": {"fixed": {"income": 0.4}}}, "curriculum.taxes.fixed.corporate is missing"),
        (
            {"taxes": {"fixed": {"income": 0.4, "corporate": 0, "corporat": 1}}},
            'curriculum.taxes.fixed.corporat is not a part of a curriculum; did you mean "corporate"',
        ),
        (
            {"taxes": {"fixed": {"income": 0.4, "corporate": 0.77}}},
            "curriculum.taxes.fixed.corporate is 0.77, which is not one of corporate_tax_choices; the nearest choice "
            "is 0.8",
        ),
        ({"taxes": {"fixed": {"income": 1.4, "corporate": 0}}}, "curriculum.taxes.fixed.income is 1.4"),
        ({"prices": {"around": 750, "end": 2}}, "curriculum.prices.around or curriculum.wages.around is not among"),
        ({"before": {"firm": "asleep"}}, "curriculum.before.firm is 'asleep'"),
        ({"entropy": {"decay": 0}}, "curriculum.entropy.decay is 0"),
        ({"entropy": {"decay": 5, "types": ["banks"]}}, "curriculum.entropy.types.0 is 'banks'"),
        ({"entropy": [{"decay": 5}, {"decay": -1}]}, "curriculum.entropy.1.decay is -1; it must be more than 0"),
        ({"entropy": {"begin": 4, "end": 2}}, "curriculum.entropy.end is 2, not after begin 4"),
        ({"entropy": {"begin": 4}}, "curriculum.entropy.end is missing"),
        ({"entropy": {"floor": 0.2}}, "curriculum.entropy.decay is missing"),
        (
            {"entropy": [{"decay": 5}, {"begin": 4, "end": 8, "from_stat": True}]},
            'curriculum.entropy.1.from_stat is not a part of a curriculum; did you mean "from_start"',
        ),
        (
            {"economy": {"export_qota": {"from": 1, "end": 4}}},
            'curriculum.economy.export_qota is not a number of an economy that can vary; did you mean "export_quota"',
        ),
        (
            {"economy": {"num_firms": {"from": 1, "end": 4}}},
            "curriculum.economy.num_firms cannot vary: it sets the shapes of tensors",
        ),
        (
            {"economy": {"dividend_share": {"from": 0, "to": 1.5, "end": 4}}},
            "curriculum.economy.dividend_share.to is 1.5; it must be at most 1",
        ),
        ({"economy": {"crra": {"from": -1, "end": 4}}}, "curriculum.economy.crra.from is -1.0; it must be at least 0"),
        ({"economy": {"crra": {"end": 4}}}, "curriculum.economy.crra.from is missing"),
        ({"economy": {"crra": {"from": 0, "begin": 4, "end": 2}}}, "curriculum.economy.crra.end is 2, before begin 4"),
        ({"economy": {"crra": {"from": 0, "untill": 4}}}, "curriculum.economy.crra.untill is not a part"),
        ({"economy": {"crra": 3}}, "curriculum.economy.crra is 3; it must be a mapping with begin, end, from, to"),
        (
            {"labour_disutility": {"decay": 3}, "economy": {"labour_disutility_scale": {"from": 0, "end": 4}}},
            "curriculum.labour_disutility and economy.labour_disutility_scale set the same number; keep one",
        ),
        ({"entropy": []}, "curriculum.entropy is []; it must be"),
        ({"learning_rate": []}, "curriculum.learning_rate is []; it must be"),
        ({"learning_rate": [{"begin": 4}]}, "curriculum.learning_rate.0.end is missing"),
        ({"learning_rate": {"begin": 4, "end": 9, "types": ["firms"]}}, "curriculum.learning_rate.types.0 is 'firms'"),
        ({"trembles": {"begin": 4, "end": 9, "from_start": True}}, "curriculum.trembles.from_start is not a part"),
        ("paper_shrt", 'did you mean "paper_short"'),
        ("no_such_module.Mine", 'curriculum is "no_such_module.Mine", which cannot be imported (No module named'),
        ("os.abort", 'curriculum is "os.abort", which is not a curriculum'),
        ("http.server.HTTPServer", "which is not a curriculum"),
        (3, "it must be a mapping, a name, or have a method"),
    ],
)
def test_a_curriculum_that_cannot_be_is_refused_with_its_place(given, message):
    with pytest.raises(ConfigError) as caught:
        build_curriculum(given, OPEN)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


class Alternating:
    """A curriculum of a user's own: prices are free every other iteration."""

    def phase(self, iteration: int) -> Phase:
        return Phase(price=(1000.0, 1000.0)) if iteration % 2 else Phase()


def test_a_class_of_ones_own_can_be_named():
    curriculum = build_curriculum("tests.test_curriculum.Alternating", OPEN)
    assert curriculum.phase(1).masks(OPEN)["firm"].sum() == len(OPEN.wage_choices)
    assert curriculum.phase(2).masks(OPEN)["firm"].all()


class Late:
    """A curriculum of a user's own that goes wrong in iteration 700."""

    def __init__(self, wrong: object) -> None:
        self.wrong = wrong

    def phase(self, iteration: int) -> object:
        if iteration == 700 and isinstance(self.wrong, Exception):
            raise self.wrong
        return self.wrong if iteration == 700 else Phase()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (Phase(price=(1200.0, 1300.0)), "curriculum: phase(700) leaves the firm without any choice"),
        (Phase(highest_tax=-1.0), "curriculum: phase(700) leaves the government without any choice"),
        (Phase(learning=frozenset({"consumers"})), 'phase(700).learning names "consumers"; there are consumer'),
        (Phase(random=frozenset({"bank"})), 'phase(700).random names "bank"'),
        (Phase(economy={"export_qota": 5.0}), 'phase(700).economy.export_qota is not a number of an economy that can'),
        (Phase(economy={"dividend_share": 5.0}), "phase(700).economy.dividend_share is 5.0; it must be at most 1"),
        (Phase(learning_rate={"firms": 0.5}), 'phase(700).learning_rate names "firms"'),
        (Phase(entropy={"consumer": 1.0}), "phase(700).entropy has no factor for firm and government"),
        ({"price": 1000.0}, "it must be a rbc_marl.curriculum.Phase"),
        (KeyError("late"), "curriculum: phase(700) raised KeyError: 'late'; give a phase for every iteration"),
    ],
)
def test_a_schedule_of_ones_own_that_goes_wrong_later_is_refused_at_once(wrong, message):
    with pytest.raises(ConfigError) as caught:
        build_curriculum(Late(wrong), OPEN)
    assert message in str(caught.value)


def test_a_schedule_forgets_nothing_because_it_remembers_nothing():
    curriculum = build_curriculum("paper_short", OPEN)
    late, early = curriculum.phase(70000), curriculum.phase(100)
    assert build_curriculum("paper_short", OPEN).phase(70000) == late
    assert curriculum.phase(100) == early
    assert torch.equal(late.masks(OPEN)["firm"], curriculum.phase(70000).masks(OPEN)["firm"])


def test_what_cannot_be_exported_cannot_move():
    given = {"economy": {"export_quota": {"from": 9, "end": 4}}}
    with pytest.raises(ConfigError, match=r"curriculum\.economy\.export_quota has no effect: the economy is closed"):
        build_curriculum(given, preset("closed"))


def test_what_opens_at_once_is_closed_before():
    curriculum = build_curriculum({"taxes": {"begin": 5, "end": 5}}, OPEN)
    assert [curriculum.phase(i).highest_tax for i in (0, 4, 5)] == [0.0, 0.0, 1.0]


def test_a_curriculum_made_in_python_is_one_from_a_file():
    parts = {"prices": {"around": 1000.0, "end": 10}, "taxes": {"begin": 3, "end": 5}}
    assert build_curriculum(Curriculum(**parts), OPEN) == build_curriculum(parts, OPEN)
    with pytest.raises(ConfigError, match=r"corporate is 0\.77, which is not one of corporate_tax_choices"):
        build_curriculum(Curriculum(taxes={"end": 5, "fixed": {"income": 0.0, "corporate": 0.77}}), OPEN)
