"""Files of others, read with suspicion, and files of our own, written whole."""
