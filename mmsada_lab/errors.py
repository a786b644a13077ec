"""The one error a user can cause, and how an unknown name is answered."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Bad input: the message says what was found, what is allowed and what to do.

    The command line prints it without a traceback and exits with status 2, and a notebook shows it alone.

    Example:
        >>> UserError("seed is -1; choose 0 or more")._render_traceback_()
        ['UserError: seed is -1; choose 0 or more']
    """

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback, line by line; `traceback.print_exc` still has it whole."""
        return [f"{type(self).__name__}: {self}"]


def unknown(kind: str, found: object, allowed: Iterable[str], *, hint: str = "") -> UserError:
    """Build the error for a name that does not exist, showing the nearest one that does.

    Args:
        kind: what the name stands for, e.g. ``"method"``.
        found: the name that was given.
        allowed: every valid name.
        hint: one more sentence, e.g. where a new name would be registered.
    """
    names = list(allowed)
    # 0.5 finds swapped and missing letters, and leaves unrelated names alone.
    near = difflib.get_close_matches(str(found), names, n=1, cutoff=0.5)
    question = f" Did you mean {near[0]!r}?" if near else ""
    tail = f" {hint}" if hint else ""
    return UserError(f"unknown {kind} {found!r}; choose {', '.join(names)}.{question}{tail}")
