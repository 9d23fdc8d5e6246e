"""Charts as a picture that notebooks show."""

from __future__ import annotations

from io import BytesIO

import matplotlib.image
import pytest

from rbc_marl.analysis.charts import Chart, Line
from rbc_marl.analysis.pictures import Picture
from rbc_marl.errors import UserError

RISING = Chart("rising", "Rising", "period", "units", (Line([1, 2, 3], [0.0, 1.0, 2.0], "made"),), "It rises.")
PLAIN = Chart("plain", "Plain", "period", "units", (Line([1, 2], [1.0, 0.0]),))


def test_a_notebook_shows_a_picture_as_wide_as_its_charts_with_their_captions_as_words():
    picture = Picture([RISING, PLAIN], title="Two of them")
    both, one = (matplotlib.image.imread(BytesIO(p._repr_png_())) for p in (picture, Picture([RISING])))
    assert both.shape[1] == 2 * one.shape[1] and both.shape[0] == one.shape[0]
    assert repr(picture) == "Two of them. It rises. Plain."


def test_a_picture_is_made_alike_twice_and_has_the_colours_of_its_charts():
    data = Picture([RISING])._repr_png_()
    assert data == Picture([RISING])._repr_png_() != Picture([PLAIN])._repr_png_()
    pixels = matplotlib.image.imread(BytesIO(data))[..., :3]
    blue = [0.0, 0x72 / 255, 0xB2 / 255]
    assert (abs(pixels - blue).max(axis=-1) < 0.02).sum() > 100


def test_saving_a_picture_gives_it_back_for_the_notebook_to_show(tmp_path):
    picture = Picture([RISING])
    assert picture.save(tmp_path / "rising.pdf") is picture
    assert (tmp_path / "rising.pdf").read_bytes().startswith(b"%PDF")
    with pytest.raises(UserError):
        Picture([]).save(tmp_path / "nothing.png")
