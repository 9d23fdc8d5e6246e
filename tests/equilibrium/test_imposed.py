"""Best responses to policies whose training imposed something: deviators live with it, and certificates hold."""

from __future__ import annotations

import pytest

from rbc_marl import UserError
from rbc_marl.analysis import certificates
from rbc_marl.analysis.deviators import Deviator
from rbc_marl.equilibrium.best_response import best_responses
from rbc_marl.equilibrium.deviations import deviation_config
from rbc_marl.equilibrium.profile import profile_of_checkpoint
from tests.equilibrium.economies import QUICK, plant

LAW = {"choices": {"maximum_price": 1000.0}}
SETTINGS = QUICK.replace(agents={"firm": (0, 1)}, iterations=1)


@pytest.fixture(scope="module", autouse=True)
def ray(ray_running):
    pass


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A checkpoint whose training imposed a highest price, and the best responses to it."""
    folder = tmp_path_factory.mktemp("run")
    plant(folder / "checkpoint_000007", imposed=LAW)
    report = best_responses(folder, SETTINGS, folder / "work", workers=0, log=lambda text: None)
    report.save(folder / "best_response")
    return folder, report


def test_no_deviation_gains_by_a_choice_that_is_not_allowed(searched):
    _, report = searched
    rows = {row["agent"]: row for row in report.rows if row["kind"] == "agent"}
    most = 5 * 1000.0 * 2  # from five consumers in the two periods whose price it chooses; 2000 without the law
    assert rows[0]["level"] == pytest.approx(most, rel=1e-3)  # posts 2000, which becomes 1000
    assert rows[0]["gain"] <= 1e-3 * most and rows[0]["gain_high"] <= 1e-3 * most
    assert rows[1]["level"] < 0.2 * most
    assert rows[1]["level"] + rows[1]["gain"] == pytest.approx(most)
    (described,) = report.checkpoints
    assert "imposed as in training, on deviators too: maximum_price 1000" in described["notes"]


def test_deviators_learn_under_it(searched):
    folder, _ = searched
    for deviator in (Deviator("firm"), Deviator("firm", 1)):
        assert deviation_config(profile_of_checkpoint(folder), QUICK, deviator, 0).imposed.chosen == LAW


def test_a_certificate_is_computed_again_under_it_and_by_no_other_law(searched, monkeypatch):
    folder, _ = searched
    assert certificates.verify(folder, log=lambda text: None)[-1].endswith("was computed again, within rounding")
    monkeypatch.setattr(certificates, "as_trained", lambda policies: policies)
    with pytest.raises(UserError, match="computed again it is"):
        certificates.verify(folder, log=lambda text: None)


def test_it_tells_profiles_apart(searched, tmp_path):
    folder, _ = searched
    plant(tmp_path / "checkpoint_000007")
    free, bound = profile_of_checkpoint(tmp_path), profile_of_checkpoint(folder)
    assert free.digest != bound.digest and not free.imposed.chosen and bound.imposed.chosen == LAW
    assert free.policies().networks.keys() == bound.trained().networks.keys()
