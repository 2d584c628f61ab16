"""The numbers behind the scheduler's decisions; a machine is given one Policy."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits and times. Times are in seconds."""

    window: int = 256  # jobs held unplaced at once; the rest waits in the stream
    queue_per_slot: int = 2  # placed and unfinished jobs per slot of a live worker
    attempts: int = 4  # workers that may be lost with a job in hand before it fails
    beat: float = 0.5  # between two heartbeats of a worker
    missed: int = 3  # beats before a worker counts as silent
    ageing: float = 5.0  # of waiting that are worth one level of priority
    return_every: float = 0.25  # between two rounds of giving jobs back
    return_delay: float = 5.0  # until a job that was given back comes again
    retry: float = 0.5  # before an instruction that failed is given again
    look_after: float = 2.0  # of silence about a placed job before its record is read
    look_at_most: float = 30.0  # between two readings; they double up to this
    stuck: float = 60.0  # a queued job that no idle worker takes is placed again
    patience: float = 300.0  # for a class that no worker has ever served
    remembered: int = 20_000  # ended jobs whose digest is kept

    @property
    def silence(self) -> float:
        """Seconds without a heartbeat after which a worker counts as lost."""
        return self.beat * self.missed


DEFAULT = Policy()
