"""Label Studio's tasks, regions, brush strokes and labeling configurations."""
