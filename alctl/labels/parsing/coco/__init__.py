"""COCO's JSON, read as a stream."""
