"""The one error for what a user got wrong. It knows nothing of the command line; the command line knows it.

Beside it, what is nobody's mistake: the end that a system asked for.
"""


class UserError(ValueError):
    """What a user got wrong: what happened, to which name, and what to pass instead.

    As text it is `"{problem}: {remedy}"`. The remedy speaks of Python's arguments; a program that is not talked to in
    Python, such as the command `zoo`, finds its own words for it under `code`.

    Attributes:
      problem: what happened, without a full stop.
      remedy: what to pass instead; empty where the problem says it.
      code: which remedy this is, `"interrupted-run"`; empty where the remedy is the same everywhere.
      context: what a remedy in other words needs to name, `{"folder": "runs/demo"}`.

    >>> error = UserError("runs/demo is not finished", "resume it", code="interrupted-run", folder="runs/demo")
    >>> print(error)
    runs/demo is not finished: resume it.
    """

    def __init__(self, problem: str, remedy: str = "", *, code: str = "", **context: object) -> None:
        super().__init__(problem, remedy)
        self.problem, self.remedy, self.code, self.context = problem, remedy, code, context

    def __str__(self) -> str:
        return f"{self.problem}: {self.remedy}." if self.remedy else f"{self.problem}."


class Terminated(KeyboardInterrupt):
    """SIGTERM, which batch systems send before they end a job: whoever answers Ctrl-C answers it too."""
