"""Out to people and back: rounds handed out, labels imported and exported, classes, who is how good. SQL through database/, never torch."""
