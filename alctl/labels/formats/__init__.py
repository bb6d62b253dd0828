"""One label format each, both directions; the contract is `alctl/labels/format.py`."""
