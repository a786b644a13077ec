"""Dataset formats: each opens one kind of data; none knows another."""
