"""The algorithm on simulators that Python steps: EnvPool, Gymnasium, your own."""
