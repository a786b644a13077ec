"""The doors `arrays:` and `features:`: any modality as arrays, and features of segments."""
