"""The doctor: reads a data set once and reports what is wrong with it."""
