"""Values that hold until a change has lasted."""

import math


class SteadyCount:
    """A number that rises once something larger was seen for ``on_s``, and falls once only smaller ones were for ``off_s``."""

    def __init__(self) -> None:
        self.value = 0
        self._above_since_s = math.inf
        self._below_since_s = math.inf
        self._least_above = 0
        self._most_below = 0

    def update(self, seen: int, lately: int, at_s: float, on_s: float, off_s: float) -> None:
        """Take in the number seen at ``at_s``, and the number seen ``lately``: one frame's miss does not stop a rise."""
        if lately > self.value:
            self._least_above = min(self._least_above, lately) if self._above_since_s < math.inf else lately
            self._above_since_s = min(self._above_since_s, at_s)
        else:
            self._above_since_s = math.inf
        if seen < self.value:
            self._most_below = max(self._most_below, seen) if self._below_since_s < math.inf else seen
            self._below_since_s = min(self._below_since_s, at_s)
        else:
            self._below_since_s = math.inf
        if at_s - self._above_since_s >= on_s:
            self._take(self._least_above)
        elif at_s - self._below_since_s >= off_s:
            self._take(self._most_below)

    def _take(self, value: int) -> None:
        self.value = value
        self._above_since_s = self._below_since_s = math.inf


class SteadyFlag:
    """Yes or no; the other answer must hold for ``on_s`` (to yes) or ``off_s`` (to no)."""

    def __init__(self, on_s: float, off_s: float) -> None:
        self.value = False
        self._on_s = on_s
        self._off_s = off_s
        self._other_since_s = math.inf

    def update(self, seen: bool, at_s: float) -> bool:
        """Take in what is seen at ``at_s``; true when ``value`` changed."""
        if seen == self.value:
            self._other_since_s = math.inf
            return False
        self._other_since_s = min(self._other_since_s, at_s)
        if at_s - self._other_since_s < (self._off_s if self.value else self._on_s):
            return False
        self.value = seen
        self._other_since_s = math.inf
        return True


class SteadyLevel:
    """A level shown in steps of 0.1 that follows only when it is a whole step off, so that it rests when nothing happens."""

    STEP = 0.1

    def __init__(self) -> None:
        self.value = 0.0

    def update(self, level: float) -> float:
        """Take in the exact level; returns the one to show."""
        if abs(level - self.value) >= self.STEP or level in (0.0, 1.0):
            self.value = round(level, 1)
        return self.value
