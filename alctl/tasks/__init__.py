"""One task each; the contract is `alctl/task.py`."""
