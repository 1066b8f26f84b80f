"""The Python client of Turnpike: every event of a topic once and in order, however often the connection breaks."""

from ._client import Frame, Problem, Turnpike

__all__ = ["Frame", "Problem", "Turnpike"]
