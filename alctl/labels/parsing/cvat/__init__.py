"""CVAT's XML, read as a stream."""
