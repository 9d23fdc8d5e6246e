"""Tax experiments: which pairs of rates run, and as which arms."""

from __future__ import annotations

import pytest

from rbc_marl import ConfigError, preset
from rbc_marl.equilibrium.taxes import Taxes, arms

SMALL = preset("open", num_consumers=6, num_firms=2, horizon=5)


def taxes(**given):
    return Taxes.parse(given, "taxes.taxes")


def pairs_of(**given):
    return taxes(**given).fixed_pairs(SMALL, "taxes.taxes")


class TestArms:
    def test_every_pair_of_rates_that_can_be_chosen_is_tried_unless_the_file_says_otherwise(self):
        assert len(pairs_of()) == 36 and (0.0, 1.0) in pairs_of() and (1.0, 1.0) in pairs_of()
        assert pairs_of(income=[0], corporate=[0, 0.8]) == ((0.0, 0.0), (0.0, 0.8))
        assert pairs_of(income=[], pairs=[[0.2, 0], [0.2, 0]]) == ((0.2, 0.0),)

    def test_a_policy_is_learned_for_each_welfare_and_each_pair_is_trained_once(self):
        found = {arm.name: arm for arm in arms(taxes(), ((0.0, 0.0), (0.0, 0.8)), "taxes.taxes")}
        assert list(found) == ["learned-total", "learned-consumers", "fixed-0-0", "fixed-0-0.8"]
        assert found["learned-consumers"].arm.set == {"env_config.welfare": "consumers"}
        assert found["fixed-0-0.8"].arm.set["curriculum.taxes.fixed"] == {"income": 0.0, "corporate": 0.8}
        assert [arm.measure is not None for arm in found.values()] == [True, True, False, False]

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"incomes": [0]}, 'taxes.taxes.incomes is not a setting of a sweep of taxes; did you mean "income"?'),
            ({"income": [0.3]}, "taxes.taxes.income has 0.3; the government can choose 0, 0.2, 0.4, 0.6, 0.8, 1"),
            ({"income": 0.2}, "taxes.taxes.income is 0.2; give a list of rates"),
            ({"pairs": 3}, "taxes.taxes.pairs is 3; give a list of pairs"),
            ({"welfare": [["total"]]}, "taxes.taxes.welfare.0 is ['total']; it must be 'total' or 'consumers'"),
            ({"welfare": "total"}, "taxes.taxes.welfare is 'total'; give a list of total and consumers"),
            ({"welfare": []}, "taxes.taxes.welfare is []; it must be a list of at least 1"),
            ({"pairs": [[0.2]]}, "taxes.taxes.pairs.0 is [0.2]; give an income and a corporate tax"),
            ({"income": []}, "taxes.taxes has no pair of rates"),
            ({"welfare": ["firms"]}, "taxes.taxes.welfare.0 is 'firms'; it must be 'total' or 'consumers'"),
            ({"coarse": {"seed": 2}}, 'coarse.seed is not a setting of the coarse grid; did you mean "seeds"?'),
            ({"coarse": {"seeds": 0}}, "taxes.taxes.coarse.seeds is 0"),
        ],
    )
    def test_what_cannot_be_is_refused_with_its_place(self, given, message):
        with pytest.raises(ConfigError) as caught:
            pairs_of(**given)
        assert message in str(caught.value)
