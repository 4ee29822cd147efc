"""Numbers about distilled sets: arrays in, NamedTuples out, and no JAX."""
