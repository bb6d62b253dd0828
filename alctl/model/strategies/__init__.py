"""One query strategy each; the contract is `alctl/model/strategy.py`."""
