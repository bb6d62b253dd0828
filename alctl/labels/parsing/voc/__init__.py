"""Pascal VOC's XML."""
