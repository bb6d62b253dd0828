"""A project's state for people who would rather look than read: one page, and pictures of its rounds.

`facts` gathers plain data, `advice` turns it into sentences, `page` and `markdown` render it; `show` draws rounds.
"""
