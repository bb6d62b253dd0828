"""The same rounds on images whose labels are known: run, statistics, figures."""
