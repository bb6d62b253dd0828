"""Rounds to and from a running Label Studio."""

from alctl.live.pull import Pulled, PullOptions, pull
from alctl.live.push import Pushed, PushOptions, push

__all__ = ["PullOptions", "Pulled", "PushOptions", "Pushed", "pull", "push"]
