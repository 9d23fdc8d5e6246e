"""The old name of `rbc_marl.envs`: importing it, or a module in it, says where things are now."""

raise ImportError(
    "rbc_marl.adapters is now rbc_marl.envs: import rbc_marl.envs.pettingzoo, rbc_marl.envs.torchrl or "
    "rbc_marl.envs.benchmarl; single_agent is now gymnasium, homogeneous is now padded"
)
