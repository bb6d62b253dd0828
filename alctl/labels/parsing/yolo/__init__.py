"""YOLO's folders and rows."""
