"""How much the gateway takes on at once."""

from dataclasses import dataclass

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one gateway. Sizes in bytes, times in seconds."""

    message: int = 16 * MIB  # one gRPC message; larger is refused with a code of ours
    wire: int = 32 * MIB  # what the transport itself still reads before it refuses
    metadata: int = 16 * 2**10  # all headers of a call
    streams: int = 1024  # calls on one connection at once
    stream_window: int = 4 * MIB  # sent on a call before the sender waits for us
    connection_window: int = 16 * MIB  # the same of all calls on a connection
    handshake: float = 5.0  # a connection says in this time what it wants, or is closed
    inline: int = 4 * MIB  # tensors of one inference, and of one packed message
    blob: int = 512 * MIB  # one upload or download
    in_flight: int = 1024 * MIB  # requests and uploads in memory
    calls: int = 1024  # calls of one tenant at once
    watches: int = 1024  # open streams of one tenant
    pack: int = 256  # calls in one packed message
    spill: int = 128  # calls waiting for a worker before the next worker is asked too
    full: int = 512  # calls waiting for a worker before it is passed over
    infer: float = 30.0  # an inference whose caller set no deadline
    attempt: float = 10.0  # silence of one worker before another is asked, if time remains
    silent: float = 1.5  # three missed heartbeats: a worker is suspected dead
    result: float = 3600.0  # a wait for a job whose caller set no deadline
    poll: float = 1.0  # a job's record is looked up at least this often while it is awaited
    settle: float = 1.0  # an unknown job may still be on its way into the audit stream
    load: float = 30.0  # RepositoryModelLoad waits for a worker
    drain: float = 10.0  # open calls may end after SIGTERM
