"""One task each; the contract is `alctl/model/task.py`."""
