"""The single-agent environments under the names that `gymnasium.make` knows."""

from __future__ import annotations

import gymnasium

NAMESPACE = "rbc_marl"
ENVIRONMENTS = {"Consumer-v0": "consumer", "Firm-v0": "firm", "Government-v0": "government"}
# A name, so that torch and the environment are imported by whoever makes one, not by everybody.
ENTRY_POINT = "rbc_marl.adapters.single_agent:SingleAgentEconomy"


def register() -> None:
    """Make the environments known to gymnasium."""
    for name, agent_type in ENVIRONMENTS.items():
        identifier = f"{NAMESPACE}/{name}"
        if identifier not in gymnasium.registry:
            gymnasium.register(id=identifier, entry_point=ENTRY_POINT, kwargs={"agent_type": agent_type})
