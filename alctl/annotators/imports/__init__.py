"""An import of labels, a file a step: recognise, check, class list, match, fit, store."""
