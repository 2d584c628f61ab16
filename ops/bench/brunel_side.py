"""One side of `ops.bench.brunel`: builds the network once and runs it when it is asked.

Talks JSON lines over stdin and stdout; needs the standard library alone.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

Model = Mapping[str, Any]
Run = Callable[[], tuple[float, int]]  # seconds of all steps, and spikes


def serve(build: Callable[[Model], Run], version: str) -> None:
    """Answer until stdin ends: `build` a model, then `run` it as often as asked."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries may write to stdout what they like
    run: Run | None = None
    model: Model = {}
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["do"] == "build":
            model = asked["model"]
            run, said = build(model), {"version": version}
        else:
            assert run is not None  # it was built before
            seconds, spikes = run()
            neurons = model["excitatory"] + model["inhibitory"]
            said = {"seconds": seconds, "rate": spikes / neurons / (model["steps"] * model["dt"])}
        answers.write(json.dumps(said) + "\n")
        answers.flush()
