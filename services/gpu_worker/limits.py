"""What a real card allows, enforced on every device: PoCL accepts what an RX 580 refuses."""

from dataclasses import dataclass

from shared.contracts.errors import DeviceFailed

WAVEFRONT = 64  # work-items that a GCN SIMD runs in step


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one device; defaults are those of an 8 GB RX 580 under its vendor's driver."""

    group: int = 256  # work-items per group
    local_bytes: int = 32 * 1024  # local memory per group
    buffer_bytes: int = 4_244_635_648  # one allocation
    memory_bytes: int = 8 * 1024**3  # all allocations together
    elements: int = 2**31 - 2**12  # kernels count with an int, up to a group's last, idle work-item

    def within(self, other: "Limits") -> "Limits":
        """The tighter of two in every respect."""
        return Limits(
            group=min(self.group, other.group),
            local_bytes=min(self.local_bytes, other.local_bytes),
            buffer_bytes=min(self.buffer_bytes, other.buffer_bytes),
            memory_bytes=min(self.memory_bytes, other.memory_bytes),
            elements=min(self.elements, other.elements),
        )

    def check_kernel(self, name: str, *, group: int, local_bytes: int) -> None:
        """Refuse a kernel that the card could not launch.

        Raises:
            LimitExceeded: the group is too large or not whole wavefronts, or local memory is short.
        """
        if group > self.group or group < 1 or group % WAVEFRONT:
            raise LimitExceeded(
                f"kernel {name} wants groups of {group} work-items; "
                f"a group is a multiple of {WAVEFRONT} and at most {self.group}"
            )
        if local_bytes > self.local_bytes:
            raise LimitExceeded(
                f"kernel {name} wants {local_bytes} bytes of local memory per group, "
                f"the limit is {self.local_bytes}"
            )

    def check_buffer(self, nbytes: int) -> None:
        """Refuse an allocation larger than one buffer may be; raises LimitExceeded."""
        if nbytes > self.buffer_bytes:
            raise LimitExceeded(
                f"one buffer of {nbytes} bytes is over the device's {self.buffer_bytes}"
            )

    def check_elements(self, count: int) -> None:
        """Refuse an array whose elements a kernel cannot number; raises LimitExceeded."""
        if count > self.elements:
            raise LimitExceeded(
                f"an array of {count} elements is over the limit of {self.elements}"
            )


class LimitExceeded(DeviceFailed):
    """A kernel or a buffer is larger than the card allows; the same request fails again."""

    retryable = False
    fix = "split the work: smaller tensors, or smaller tunables for the kernel"
