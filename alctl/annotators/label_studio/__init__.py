"""Rounds to and from a running Label Studio."""

from alctl.annotators.label_studio.pull import Pulled, PullOptions, pull
from alctl.annotators.label_studio.push import Pushed, PushOptions, push

__all__ = ["PullOptions", "Pulled", "PushOptions", "Pushed", "pull", "push"]
