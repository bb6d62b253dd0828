"""Mask pictures: their classes by colour, their pixels, their segments."""
