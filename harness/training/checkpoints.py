"""When a training's state is kept and at what cost, and from which one a later try goes on."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from typing import Any, Protocol

from safetensors import SafetensorError
from torch import Size, Tensor, dtype

from harness.errors import Interrupted, in_one_line
from harness.records.schema import CheckpointCost
from harness.signals import Stop
from harness.training.distributed import check_alike, everyones, largest, wait_for_all
from harness.training.state import State, StateError, capture, check_fit, form, learnt, load, save
from harness.training.trainer import Trainer
from methods.contract import Method
from methods.parts.joined import rank

#: Of the folder of a training's weights; its states, by the number of steps done.
FOLDER, NAME = "checkpoints", "step-"
#: The newest and the one before, which serves where the newest is damaged.
KEPT = 2
MIB = 2**20


class Meter(Protocol):
    """What adds up over a training, stands still in a pause and goes on after an interruption."""

    def paused(self) -> AbstractContextManager[None]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...
    def of_all(self, states: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The state that stands for all processes of a training, of each one's."""


class Checkpoints:
    """The training states of one run in its folder of weights.

    Where several processes train together, rank 0 reads and writes them, and they agree on when.
    """

    def __init__(
        self,
        weights: Path,
        every: str,
        made_by: dict[str, Any],
        say: Callable[[str], None],
        stop: Stop | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`every` is the profile's `checkpoint_every`, `made_by` of this code and environment."""
        self.folder = weights / FOLDER
        self.every, self.made_by, self.say = every, made_by, say
        self.stop = stop or Stop()
        self.resumed: list[int] = []  # steps done whenever a try went on
        self.cost: CheckpointCost | None = None
        self._clock = clock
        self._last = clock()
        self._own: list[Path] = []  # states of this training, the oldest first
        self._tried: int | None = None  # the steps that were done when one was last written
        self._failed = False
        self._built: dict[str, tuple[Size, dtype]] = {}  # the method's tensors as it was built

    def begin(self, method: Method) -> None:
        """Know the method as it was built: a state of another one could not be gone on from."""
        held = method.state_dict().items()
        self._built = {name: form(value) for name, value in held if isinstance(value, Tensor)}

    def newest(self, method: Method, iterations: int, keep_other_code: bool) -> State | None:
        """The state that the method, built as it was, goes on from; says which, or why none.

        None where there is no state, where all are damaged or of other networks, and where other
        code or another environment left it, unless that is to be kept.
        """
        for folder in stored(self.folder):
            done = steps_done(folder)
            try:
                state = load(folder)
                check_fit(method, state)
            except StateError as error:
                self.say(f"the training state of step {done} is not used: {in_one_line(error)}")
                continue
            if state.values["made_by"] != self.made_by and not keep_other_code:
                self.say(
                    f"the training state of step {done} was left by other code, another torch or "
                    "on another kind of device: trained from the start (--keep-other-code goes on "
                    "from it)"
                )
                return None
            self.say(f"goes on at step {done} of {iterations}")
            self.resumed = [*state.values["resumed"], done]
            self.cost = CheckpointCost(**state.values["cost"])
            self._own = [folder]
            return state
        return None

    def due(self, done: int) -> bool:
        """Whether to keep the state now that so many steps are done."""
        if self.every == "off":
            return False
        if self.every.endswith("min"):
            late = self._clock() - self._last >= 60 * float(self.every.removesuffix("min"))
            return bool(largest(late))
        return done % int(self.every) == 0

    def write(self, trainer: Trainer, done: int, meters: Mapping[str, Meter]) -> None:
        """Keep the state after so many steps; what that costs is in none of the meters.

        A state that cannot be written, or that a method as it is built could not go on from, is
        said once: training needs none. BenchError where networks of several processes differ.
        """
        self._tried = done
        if self._grown(trainer.method):
            return
        start = time.perf_counter()
        with ExitStack() as pauses:
            for meter in meters.values():
                pauses.enter_context(meter.paused())
            check_alike(trainer.method)
            state = capture(trainer)
            state.values |= {
                "step": done,
                "meters": {name: of_all(meter) for name, meter in meters.items()},
                "made_by": self.made_by,
                "resumed": self.resumed,
            }
            if rank() == 0:
                self._save(state, done, start)
            wait_for_all()
        self._last = self._clock()

    def _grown(self, method: Method) -> bool:
        """Whether the method has more, or of other forms, than when it was built; said once."""
        held = learnt(method).items()
        late = [name for name, tensor in held if self._built.get(name) != form(tensor)]
        if late and not self._failed:
            self.say(
                f"the training's state is not kept, an interrupted training begins anew: {late[0]} "
                "is not what it was when the method was built; expected every buffer and parameter "
                "registered in setup, of its final shape and type"
            )
        self._failed = self._failed or bool(late)
        return bool(late)

    def _save(self, state: State, done: int, start: float) -> None:
        folder = self.folder / f"{NAME}{done}"
        count, seconds = (self.cost.count, self.cost.seconds) if self.cost else (0, 0.0)
        mib = sum(t.nbytes for t in state.tensors.values()) / MIB
        # Its own writing is not over yet: what it took is known to the next one, or to the record.
        state.values["cost"] = {"count": count + 1, "seconds": seconds, "mib": mib}
        try:
            mib = save(folder, state) / MIB
        except (OSError, SafetensorError) as error:
            if not self._failed:
                self.say(f"the training state could not be written ({in_one_line(error)})")
            self._failed = True
            return
        self._own = [*(kept for kept in self._own if kept != folder), folder][-KEPT:]
        for older in self.folder.iterdir():
            if older not in self._own:
                shutil.rmtree(older, ignore_errors=True)
        seconds += time.perf_counter() - start
        self.cost = CheckpointCost(count=count + 1, seconds=seconds, mib=mib)

    def stop_here(self, trainer: Trainer, done: int, meters: Mapping[str, Meter]) -> None:
        """Where a signal to any process has asked for it, keep the state and raise Interrupted."""
        number = largest(self.stop.number or 0)
        if not number:
            return
        if done and self._tried != done and self.every != "off":
            self.write(trainer, done, meters)
        raise Interrupted(number)

    def went_on(self, done: int) -> None:
        """The state after so many steps is the one that this training goes on from."""
        self._tried = done

    def stop_without(self) -> None:
        """Raise Interrupted where a signal has asked for it, whatever other processes do."""
        if self.stop.number is not None:
            raise Interrupted(self.stop.number)


def of_all(meter: Meter) -> dict[str, Any]:
    """The state of a meter that stands for all processes."""
    return meter.of_all(everyones(meter.state_dict()))


def stored(folder: Path) -> list[Path]:
    """The states in a folder, the newest first."""
    with suppress(OSError):
        names = (p for p in folder.iterdir() if p.name.removeprefix(NAME).isdecimal())
        return sorted(names, key=steps_done, reverse=True)
    return []


def steps_done(folder: Path) -> int:
    return int(folder.name.removeprefix(NAME))


def discard(weights: Path) -> None:
    """Remove all states of a training, whole or not."""
    shutil.rmtree(weights / FOLDER, ignore_errors=True)
