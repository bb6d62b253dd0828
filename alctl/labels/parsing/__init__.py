"""Parsers and writers of the files that label formats consist of; none of them knows a project."""
