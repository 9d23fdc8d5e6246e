"""Charts as a value that a notebook shows: the last line of a cell."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from rbc_marl.analysis.charts import Chart
from rbc_marl.analysis.drawing import save
from rbc_marl.errors import require

# Lines and grounds of charts have few colours. A palette of this many makes a picture a third of its size.
_PALETTE = 128


class Picture:
    """Charts side by side: notebooks show them, programs save them.

    In a notebook the charts' captions stand for the picture where it can't be seen.

    Args:
        charts: In reading order.
        columns: Most charts side by side.
        title: Of the whole.
    """

    def __init__(self, charts: Sequence[Chart], columns: int = 3, title: str = "") -> None:
        self.charts, self.columns, self.title = tuple(charts), columns, title

    def save(self, path: str | Path) -> Picture:
        """Draw the charts into a file (png, pdf or svg), and return the picture.

        Raises:
            MissingExtraError: matplotlib is not installed.
            UserError: There is nothing to draw.
        """
        save(self.charts, path, self.columns, self.title)
        return self

    def __repr__(self) -> str:
        """The captions, or the titles of charts without one."""
        words = [chart.caption or chart.title for chart in self.charts]
        return " ".join(word if word.endswith(".") else f"{word}." for word in [self.title, *words] if word)

    def _repr_png_(self) -> bytes:
        """The picture for a notebook."""
        image = require("PIL.Image", "analysis")  # matplotlib brings it
        with TemporaryDirectory() as folder:
            path = Path(folder) / "picture.png"
            self.save(path)
            with image.open(path) as drawn:
                small = drawn.convert("RGB").quantize(_PALETTE, dither=image.Dither.NONE)
        buffer = BytesIO()
        small.save(buffer, format="PNG", optimize=True)
        return buffer.getvalue()
