"""The page of quantized networks beside other tools is made from the committed results."""

import json

from ops.bench import compression_peers


def test_the_page_is_made_from_the_committed_results() -> None:
    assert compression_peers.PAGE.read_text() == compression_peers.whole()


def test_every_side_kept_the_accuracy_of_its_float32_within_a_point() -> None:
    found = json.loads(compression_peers.RESULTS.read_text())

    assert "dirty" not in found["machine"]["commit"]
    for calls in found["cases"].values():
        for name, held in calls.items():
            whole = calls[f"{name.split('/')[0]}/float32"]["accuracy"]
            assert held["accuracy"] >= whole - 0.01
