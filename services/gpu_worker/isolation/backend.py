"""The OpenCL backend as the worker uses it: every call goes to a disposable child process.

Types and shapes are checked and inferred here; the work is sent and not waited for. When the child
dies the batch in it is lost and nothing else: the next child is given every tensor that came from
here as soon as it is used.
"""

import contextlib
from collections.abc import Mapping
from itertools import count

from services.gpu_worker.abilities import Abilities
from services.gpu_worker.isolation.keeper import Keeper
from services.gpu_worker.isolation.link import LARGE, Link
from services.gpu_worker.isolation.messages import (
    Adopt,
    Drop,
    Failed,
    Meet,
    Ready,
    Run,
    Unusable,
)
from services.gpu_worker.isolation.remote import NOWHERE, Remote
from services.gpu_worker.settings import GpuSettings
from shared.chassis.fitness import Fitness
from shared.contracts.errors import DeviceFailed, DeviceLost
from shared.operators import validate
from shared.operators.spec import Attributes, OperatorSpec, Prepared, Scalar, Types
from shared.tensors.layouts import Tensor

GARBAGE = 8  # released tensors that may wait for the next question to be dropped
OPENER = "services.gpu_worker.isolation.opening:opened"


class DeviceUnusable(DeviceFailed):
    """No child got the device to work."""

    def __init__(self, refused: Unusable) -> None:
        self.refused = refused
        super().__init__(refused.text)


class IsolatedBackend:
    """Operators on the OpenCL device of a child process."""

    thread_bound = True  # waits for the child must not block anybody else's thread
    guarded = True  # a call that hangs is ended here, at the cost of the child alone

    def __init__(
        self, settings: GpuSettings, fitness: Fitness | None = None, opener: str = OPENER
    ) -> None:
        """Nothing is started before `open`.

        Args:
            settings: patience, and what the child opens.
            fitness: told when the device goes and comes back.
            opener: `module:function` that opens a device in the child.
        """
        self.fitness = fitness or Fitness()
        self.device: Ready
        self.name = ""
        self.keeper = Keeper(
            lambda number: Link(opener, number),
            lambda link: link.open(settings.model_dump_json(), settings.device_patience),
            self.fitness,
            settings.device_failures,
        )
        self._abilities = Abilities(frozenset(), doubles=False)
        self._passed = validate.Passed()
        self._ids = count(1)
        self._live: dict[int, Remote] = {}  # those that came from here
        self._dropped: list[int] = []

    def open(self) -> Ready:
        """Start the first child.

        Raises:
            DeviceUnusable: it has no device, or that failed its test, or it died again and again.
        """
        refused = self.keeper.begin()
        ready = self.keeper.ready
        if ready is None:
            never = Unusable(DeviceFailed.code, "closed before it was open", DeviceFailed.fix, True)
            raise DeviceUnusable(refused or never)
        self.device, self.name = ready, ready.worker_class
        self._abilities = Abilities(frozenset(ready.operators), ready.doubles)
        return ready

    def close(self) -> None:
        """End the child."""
        self.keeper.close()

    def adopt(self, document: bytes) -> None:
        """Have tuned values used that came from elsewhere; returns when they were proved.

        Raises:
            DeviceLost: the device's process ended.
        """
        with self.keeper as link:
            link.post(Adopt(document))
            link.ask(Meet())

    def supports(self, spec: OperatorSpec, inputs: Types) -> bool:
        """Whether the device has the operator for these inputs."""
        return self._abilities.supports(spec, inputs)

    def upload(self, tensor: Tensor) -> Remote:
        """Have a tensor copied to the device. It is kept here as well, to be copied again.

        Raises:
            DeviceLost: there is no device now.
        """
        remote = Remote(next(self._ids), tensor.type, tensor)
        with self.keeper as link:
            self._send(link, remote, tensor)
        self._live[remote.id] = remote
        return remote

    def download(self, resident: Remote) -> Tensor:
        """Wait for the work that makes a tensor and copy it to host memory.

        Raises:
            DeviceFailed: the device could not make it; nothing else is lost.
            DeviceLost: the device's process ended with it.
        """
        with self.keeper as link:
            found = link.fetch(self._id(link, resident), self._garbage())
            if isinstance(found, Failed):
                raise self._failure(found)
        return found

    def release(self, resident: Remote) -> None:
        """Give the memory back soon; harmless when it is gone already."""
        if resident.released:
            return
        resident.released = True
        self._dropped.append(resident.id)
        if resident.source is None:
            return
        self._live.pop(resident.id, None)
        if resident.source.nbytes > LARGE:
            with contextlib.suppress(DeviceLost), self.keeper as link:  # lost: so is the tensor
                link.post(Drop(self._garbage()))
                link.flush()

    def run(
        self, spec: OperatorSpec, inputs: Mapping[str, Remote], attributes: Attributes
    ) -> dict[str, Remote]:
        """Send one operator call; the outputs may be used at once.

        Raises:
            ValueError: the call does not fit its spec, or an input was released.
            DeviceLost: the device's process ended, perhaps with an input.
        """
        types = {port: tensor.type for port, tensor in inputs.items()}
        filled = self._passed.call(spec, types, attributes)
        return self._call(spec.name, dict(filled), spec.infer(types, filled), inputs)

    def prepare(self, spec: OperatorSpec, types: Types, attributes: Attributes) -> Prepared:
        """`run` with everything checked once.

        Raises:
            ValueError: the call does not fit its spec.
        """
        filled = dict(validate.call(spec, types, attributes))
        made = spec.infer(types, filled)

        def call(inputs: Mapping[str, Remote]) -> dict[str, Remote]:
            return self._call(spec.name, filled, made, inputs)

        return call

    def synchronize(self) -> None:
        """Wait until everything sent has finished.

        Raises:
            DeviceFailed: some of it broke, and nobody was told yet.
            DeviceLost: the device's process ended.
        """
        with self.keeper as link:
            answer, _ = link.ask(Meet())
            if isinstance(answer, Failed):
                raise self._failure(answer)

    def _call(
        self, name: str, attributes: dict[str, Scalar], made: Types, inputs: Mapping[str, Remote]
    ) -> dict[str, Remote]:
        outputs = {port: Remote(next(self._ids), kind) for port, kind in made.items()}
        with self.keeper as link:
            ids = {port: self._id(link, resident) for port, resident in inputs.items()}
            named = {port: output.id for port, output in outputs.items()}
            if len(self._dropped) >= GARBAGE:
                link.post(Drop(self._garbage()))
            link.post(Run(name, ids, attributes, named))
            for output in outputs.values():
                output.home = link.number
        return outputs

    def _garbage(self) -> tuple[int, ...]:
        """What was released and not yet dropped. Nothing sent later names it."""
        dropped, self._dropped = self._dropped, []
        return tuple(dropped)

    def _id(self, link: Link, resident: Remote) -> int:
        """The id of a tensor that this child has, or is given now.

        Raises:
            ValueError: it was released.
            DeviceLost: it was computed by a child that is gone.
        """
        if resident.released:
            raise ValueError(f"a released tensor of shape {resident.type.shape} was used")
        if resident.home != link.number:
            if resident.source is None:
                raise DeviceLost("the device's process ended with an activation")
            self._send(link, resident, resident.source)
        return resident.id

    def _send(self, link: Link, remote: Remote, tensor: Tensor) -> None:
        link.keep(remote.id, tensor)
        remote.home = link.number

    def _failure(self, failed: Failed) -> Exception:
        """What to raise; a tensor that did not get there is sent again at its next use, a device
        that breaks while it is waited for is not used again."""
        if failed.invalid:
            return ValueError(failed.text)
        if failed.id is None:
            self.keeper.condemn()
        elif (remote := self._live.get(failed.id)) is not None:
            remote.home = NOWHERE
        return DeviceFailed(f"{failed.kind}: {failed.text}")
