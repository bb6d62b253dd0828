"""From files to pixels: Pillow and NumPy. Imports labels/ and what lies below; never SQL or torch."""
