"""How far people agree: pure measures of their labels. Imports labels/ alone."""
