"""The benchmark's MLP under MLServer; runs in MLServer's own virtual environment."""

from pathlib import Path

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Mlp(MLModel):
    """x (n, 784) float32 -> y (n, 10) float32 with two ReLU layers, weights from one .npz."""

    async def load(self) -> bool:
        """Read the weights that the benchmark wrote."""
        with np.load(Path(self.settings.parameters.uri)) as stored:
            self._layers = [(stored[f"weight_{i}"], stored[f"bias_{i}"]) for i in range(3)]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """One forward pass on the request's rows."""
        value = NumpyCodec.decode_input(payload.inputs[0])
        for index, (weight, bias) in enumerate(self._layers):
            value = value @ weight.T + bias
            if index < 2:
                np.maximum(value, 0, out=value)
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("y", value)]
        )
