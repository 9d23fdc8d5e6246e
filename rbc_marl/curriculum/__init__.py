"""Curricula: what agents may do, and who learns how fast, as pure functions of the iteration (section 4 of the paper).

An iteration is a number of env steps, fixed when training starts. Nothing here remembers anything: asked twice for
the same iteration, a schedule gives the same phase, also after a restore or in a worker that has just been replaced.
"""

from rbc_marl.curriculum.parts import AgentType
from rbc_marl.curriculum.phase import Phase, Range, Schedule
from rbc_marl.curriculum.schedule import (
    NAMED_CURRICULA,
    Curriculum,
    build_curriculum,
    moving_numbers,
    paper_curriculum,
    parse_curriculum,
)

__all__ = [
    "NAMED_CURRICULA",
    "AgentType",
    "Curriculum",
    "Phase",
    "Range",
    "Schedule",
    "build_curriculum",
    "moving_numbers",
    "paper_curriculum",
    "parse_curriculum",
]
