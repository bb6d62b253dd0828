"""Active-learning rounds on a real image-labeling project."""
