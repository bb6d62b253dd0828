"""The label formats, one a file; what each can do is in `alctl/labels/format.py`."""
