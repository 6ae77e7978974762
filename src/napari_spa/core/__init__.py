"""Pure functions of the method: arrays in, arrays out."""
