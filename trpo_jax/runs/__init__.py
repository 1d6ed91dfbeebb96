"""A training run, from its options to the files that it leaves."""
