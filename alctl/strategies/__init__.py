"""One query strategy each; the contract is `alctl/strategy.py`."""
