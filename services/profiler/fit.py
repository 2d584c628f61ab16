"""From timed repeats to measures with spread; pure."""

from collections.abc import Mapping, Sequence

import numpy as np

from services.profiler.experiments import Experiment
from shared.contracts.v1.jobs import JobFinished, Timing
from shared.contracts.v1.models import Latency
from shared.contracts.v1.workers import DeviceProfile, Measure

WARM_UP = 0.1  # share of the samples, the earliest ones, that is not counted
FEW = 5  # samples of which none is dropped
SHORTEST = 1e-9  # [s] that any clock here can tell from nothing


def clean(samples: Sequence[float]) -> list[float]:
    """Samples [s] without the warm-up at their beginning.

    Raises:
        ValueError: there is none, or one is negative or not finite.
    """
    if not samples or not all(0.0 <= sample < float("inf") for sample in samples):
        raise ValueError(f"need times of at least one run, got {list(samples)[:5]}")
    dropped = 0 if len(samples) <= FEW else max(1, int(len(samples) * WARM_UP))
    return [max(sample, SHORTEST) for sample in samples[dropped:]]


def duration(samples: Sequence[float]) -> Measure:
    """Median and quartiles of times [s]."""
    return _measure(clean(samples))


def rate(samples: Sequence[float], amount: float) -> Measure:
    """Median and quartiles of `amount` per second: bytes or flops of one run over its time."""
    return _measure([amount / sample for sample in clean(samples)])


def spread(samples: Sequence[float]) -> float:
    """How far times [s] scatter: their interquartile range as a share of their median."""
    low, median, high = np.percentile(clean(samples), [25, 50, 75])
    return float((high - low) / median)


def latency(record: JobFinished, *, batch: int) -> Latency:
    """The time of one call [s] as a traced or repeated inference measured it."""
    samples = clean(record.timing.samples)
    p50, p99 = np.percentile(samples, [50, 99])
    return Latency(
        worker_class=record.worker_class,
        device=record.device,
        batch=batch,
        p50=float(p50),
        p99=float(p99),
        samples=len(samples),
    )


def profile(
    results: Mapping[str, tuple[Experiment, JobFinished]], *, steal: float, now: float
) -> DeviceProfile:
    """A device profile from the records of `experiments.plan`, by experiment name.

    Args:
        steal: share of CPU time that neighbours took meanwhile, 0..1.
        now: [s since the epoch].

    Raises:
        ValueError: a record holds no times.
        KeyError: an experiment is missing.
    """
    launch, copy = _timing(results, "launch"), _timing(results, "copy")
    large, record = results["copy"]
    return DeviceProfile(
        worker_class=record.worker_class,
        worker=record.worker,
        device=record.device,
        driver=record.driver,
        measured_at=now,
        steal=steal,
        launch=duration(launch.samples),
        copy_bandwidth=rate(copy.samples, large.moved),
        upload_bandwidth=rate(copy.upload_samples, large.upload),
        download_bandwidth=rate(copy.download_samples, large.download),
        gemm_rate=rate(_timing(results, "gemm").samples, results["gemm"][0].flops),
        spmm_rate=rate(_timing(results, "spmm").samples, results["spmm"][0].flops),
    )


def _timing(results: Mapping[str, tuple[Experiment, JobFinished]], name: str) -> Timing:
    return results[name][1].timing


def _measure(values: list[float]) -> Measure:
    low, median, high = np.percentile(values, [25, 50, 75])
    return Measure(median=float(median), low=float(low), high=float(high), samples=len(values))
