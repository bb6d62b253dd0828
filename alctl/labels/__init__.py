"""What a label is: annotations, their geometry, and every format they come in. Never SQL or torch."""
