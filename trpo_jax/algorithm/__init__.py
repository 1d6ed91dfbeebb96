"""One iteration of TRPO as pure functions; `trpo` is the place to start reading."""
