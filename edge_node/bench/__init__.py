"""Measuring the node: its loop against the bare ``invoke`` of the same model, in one run, interleaved."""
