"""EconomyPPO on batches of economies, and the environment for RLlib's other algorithms."""

from rbc_marl.errors import require

require("ray.rllib", "rllib")

from rbc_marl.rllib.algorithm import EconomyPPO, EconomyPPOConfig  # noqa: E402 - Ray is asked for first
from rbc_marl.rllib.callbacks import CurriculumCallback, curriculum_callback  # noqa: E402
from rbc_marl.rllib.modules import module_spec  # noqa: E402
from rbc_marl.rllib.plain import register  # noqa: E402

register()

__all__ = [
    "CurriculumCallback",
    "EconomyPPO",
    "EconomyPPOConfig",
    "curriculum_callback",
    "module_spec",
    "register",
]
