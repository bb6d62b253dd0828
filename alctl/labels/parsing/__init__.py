"""What label formats are made of: parsers and writers of files from outside, none of which knows a pool."""
