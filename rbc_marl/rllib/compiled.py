"""Periods of a rollout by compiled code: networks, draws, decisions, the economy and observations in one graph.

Random draws are made outside, in the order in which they would be drawn, and come in as tensors: actions are those of
uncompiled code. So does whatever a curriculum moves, so that another phase needs no other code: masks are buffers of
the networks, which are read where they are, like all weights; numbers of the economy are tensors [B], and rates of
trembles single numbers.

The graph is what one run of the period records. Compiled code is called without torch's own checks of what it was
compiled for, which would take a tenth of a rollout of a few economies: `CompiledPeriods` keeps a graph for each form
that a period takes. Inductor keeps compiled code on disk, in TORCHINDUCTOR_CACHE_DIR or torch's default folder.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from rbc_marl.economy import EconomyState
from rbc_marl.errors import ConfigError, first_line
from rbc_marl.policies.draws import Draw, Generators, Given, Recorder, Source, drawn

if TYPE_CHECKING:
    from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
    from ray.rllib.core.rl_module.multi_rl_module import MultiRLModule

    from rbc_marl.rllib.rollout import BehaviourSettings

SETTING = "torch_compile_worker"
COMPILE_TIME = "compile_time_s"
"""Name of the seconds that an iteration spent on compiling, among what env runners report."""
# Seconds that compiling may take on a busy machine: who is silent for longer has its episodes played by others.
COMPILE_PATIENCE = 600.0


class Played(NamedTuple):
    """What comes of a period."""

    column: dict[str, dict[str, Tensor]]
    """What a rollout keeps of it, but for the observations that it began with."""
    observation: dict[str, Tensor]
    """After it."""
    state: EconomyState
    """After it."""
    quantities: Tensor
    """Its `period_quantities`, stacked [quantities, B]."""


Play = Callable[["MultiRLModule", dict[str, Tensor], EconomyState, "BehaviourSettings", Source], Played]
"""A whole period as a pure function."""


@dataclass(frozen=True)
class _Form:
    """Compiled code of one form of a period."""

    modules: MultiRLModule
    """Whose weights it reads."""
    draws: tuple[tuple[int, Draw], ...]
    """What it is given, in order."""
    run: Callable[..., Any]
    """From flat inputs to flat outputs."""
    state: type[EconomyState]
    """Kind of the state after it."""
    outputs: Any
    """How outputs are put together."""


class CompiledPeriods:
    """Plays periods by compiled code; what has a new form is compiled first.

    Attributes:
        seconds: That compiling has taken so far.
    """

    def __init__(self, play: Play) -> None:
        """Take the period as a function; nothing is compiled before it is played."""
        self._play = play
        self._forms: dict[tuple[Any, ...], _Form] = {}
        self.seconds = 0.0

    @property
    def count(self) -> int:
        """Forms compiled so far."""
        return len(self._forms)

    @torch.no_grad()  # a graph recorded with gradients keeps what a backward pass would need, and takes twice as long
    def play(
        self,
        modules: MultiRLModule,
        observation: dict[str, Tensor],
        state: EconomyState,
        behaviour: BehaviourSettings,
        generator: Generators,
    ) -> Played:
        """Play a period, without gradients.

        Args:
            modules: One for each agent type. Their weights and masks may change in place.
            observation: At its start.
            state: At its start.
            behaviour: How agents act.
            generator: Behind every draw.

        Raises:
            ConfigError: It cannot be compiled.
        """
        like = state.time
        parameters = {name: number * torch.ones_like(like) for name, number in behaviour.parameters.items()}
        rates = {name: like.new_tensor(rate) for name, rate in behaviour.trembles.items()}
        behaviour = replace(behaviour, parameters=parameters, trembles=rates)
        state, observation = _contiguous(state), {name: x.contiguous() for name, x in observation.items()}
        names = (tuple(each) for each in (behaviour.parameters, behaviour.trembles, state.shocks))
        flags = (behaviour.explore, behaviour.random, behaviour.keeps_market)
        key = (id(modules), len(like), *flags, *names)
        form = self._forms.get(key)
        if form is None:
            form = self._forms[key] = self._compile(modules, observation, state, behaviour)
        draws = [drawn(rows, draw, generator) for rows, draw in form.draws]
        inputs, _ = _flat(observation, state, behaviour, draws)
        column, after, next_state, quantities = _tree().tree_unflatten(form.run(*inputs), form.outputs)
        return Played(column, after, form.state(**next_state), quantities)

    def _compile(
        self, modules: MultiRLModule, observation: dict[str, Tensor], state: EconomyState, behaviour: BehaviourSettings
    ) -> _Form:
        """Record the period that begins with a state, and compile what was recorded."""
        started = time.perf_counter()
        recorder = Recorder(state.time.device)
        self._play(modules, observation, state, behaviour, recorder)
        inputs, structure = _flat(observation, state, behaviour, [draw.of(n, None) for n, draw in recorder.asked])
        outputs: list[Any] = []

        def play(*tensors: Tensor) -> list[Tensor]:
            seen, before, parameters, rates, draws = _tree().tree_unflatten(list(tensors), structure)
            how = replace(behaviour, parameters=parameters, trembles=rates)
            played = self._play(modules, seen, type(state)(**before), how, Given(draws))
            after = _contiguous(played.state)  # like the state at the start of an episode
            tensors, form = _tree().tree_flatten((played.column, played.observation, _values(after), played.quantities))
            outputs[:] = [type(after), form]
            return list(tensors)

        with _naming_what_cannot_be():
            run = _compiled(play, inputs)
            run(*inputs)  # what is left to be done at the first call
        self.seconds += time.perf_counter() - started
        return _Form(modules, tuple(recorder.asked), run, *outputs)


def _compiled(function: Callable[..., list[Tensor]], inputs: list[Tensor]) -> Callable[..., Any]:
    """A function of tensors as compiled code, for tensors of the same shapes; what else it reads is read in place."""
    # Inductor takes seconds to import.
    import torch._inductor
    from torch._guards import TracingContext, tracing
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    graph = make_fx(function)(*inputs)
    with tracing(TracingContext(FakeTensorMode(shape_env=ShapeEnv()))):  # without it nothing is kept on disk
        # One thread: several are processes of Inductor's, which would outlive the training.
        run: Callable[..., Any] = torch._inductor.compile(graph, [*inputs], options={"compile_threads": 1})
    return run


def sample_timeout(config: AlgorithmConfig) -> float | None:
    """Seconds until an env runner that does not answer counts as silent: more where it may be compiling."""
    timeout: float | None = config.sample_timeout_s
    return timeout + COMPILE_PATIENCE if timeout is not None and config.torch_compile_worker else timeout


def check_compiler(config: AlgorithmConfig) -> None:
    """Refuse to compile where there is nothing to compile with.

    Raises:
        ConfigError: There is no C++ compiler, and the configuration asks for compiled rollouts.
    """
    if not config.torch_compile_worker:
        return
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        get_cpp_compiler()
    except Exception as error:  # of several kinds, by system and version
        mend = f"install one, such as g++, or name it in CXX; or leave {SETTING} out"
        raise ConfigError(f"{SETTING} needs a C++ compiler, and there is none: {mend}") from error


@contextmanager
def _naming_what_cannot_be() -> Iterator[None]:
    """Say in a line that something cannot be compiled, and what to do."""
    try:
        yield
    except Exception as error:  # torch has no common base of them, and classes of one's own raise anything
        what = f"{type(error).__name__}: {first_line(error)}"
        raise ConfigError(f"{SETTING}: this run cannot be compiled ({what}); leave {SETTING} out") from error


def _flat(
    observation: Mapping[str, Tensor], state: EconomyState, behaviour: BehaviourSettings, draws: list[Tensor]
) -> tuple[list[Tensor], Any]:
    """All inputs in a row, and how they are put together."""
    tensors, structure = _tree().tree_flatten(
        (observation, _values(state), behaviour.parameters, behaviour.trembles, draws)
    )
    return tensors, structure


def _tree() -> Any:  # noqa: ANN401 - a module
    import torch.utils._pytree as tree

    return tree


def _values(state: EconomyState) -> dict[str, Any]:
    """Tensors of a state by name, as it takes them."""
    return {field.name: getattr(state, field.name) for field in fields(state)}


def _contiguous(state: EconomyState) -> EconomyState:
    return state._map(Tensor.contiguous)
