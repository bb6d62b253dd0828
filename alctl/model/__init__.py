"""Compute: tasks, networks, training, scoring and query strategies. torch; never SQL or the terminal."""
