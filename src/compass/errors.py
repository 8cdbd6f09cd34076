"""The exceptions that compass raises on purpose.

Each message says what went wrong, which rule it broke, the value that was found and what to do next.

CompassError
├── ConfigError        one or more options are wrong (all of them are listed at once)
├── DataError          a file or a record cannot be used (names the file and the line)
│   └── LanguageError  a language tag is unknown or does not fit the data
├── EncoderError       texts could not be turned into vectors
├── SelectionError     no selection can be made from this pool
├── ModelError         a base model or adapter cannot be loaded or does not fit
├── MonitorError       a drift monitor's state or input cannot be used
├── RunError           a run folder is missing, incomplete or belongs to other inputs
├── RegistryError      a version or an alias of the registry is missing, damaged or may not be moved
│   └── RegistryUnavailableError  the registry can't be written now: a full disk, a lock that another process holds
├── ServeError         a model server does not answer, or refuses what it is asked for
└── MissingExtraError  an optional dependency is not installed (says the pip line)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

LONGEST_MESSAGE, LONGEST_PROBLEM = 8_000, 1_000
"""Characters of a message, and of one problem in it: it may quote what was found, and that may be a whole file."""


class CompassError(Exception):
    """Base of every error that compass raises on purpose."""

    def __init__(self, message: str = "") -> None:
        super().__init__(_cut(message, LONGEST_MESSAGE))


class ConfigError(CompassError):
    """One or more options are wrong; `problems` lists every one of them."""

    def __init__(self, problems: str | Sequence[str]) -> None:
        found = (problems,) if isinstance(problems, str) else problems
        self.problems: tuple[str, ...] = tuple(_cut(problem, LONGEST_PROBLEM) for problem in found)
        super().__init__("\n".join(self.problems))


class DataError(CompassError):
    """A file or a record cannot be used; the message names the file and the line or record."""


class LanguageError(DataError):
    """A language tag is unknown or does not fit the data."""


class EncoderError(CompassError):
    """Texts could not be turned into vectors."""


class SelectionError(CompassError):
    """No selection can be made from this pool for this usage."""


class ModelError(CompassError):
    """A base model or an adapter cannot be loaded, or the two do not fit."""


class RunError(CompassError):
    """A run folder is missing, incomplete, or belongs to other inputs."""


class MonitorError(CompassError):
    """A drift monitor's state is damaged, belongs to another reference, or is written by another process."""


class RegistryError(CompassError):
    """A version or an alias of the registry is missing, damaged, or may not be moved as asked."""


class RegistryUnavailableError(RegistryError):
    """The registry can't be written now, and nothing in it has changed: the same call may succeed later."""


class ServeError(CompassError):
    """A model server does not answer, or refuses what the gateway asks of it."""


class MissingExtraError(CompassError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}. Install it with: pip install 'compass-peft[{extra}]'"
        )


def raise_together(errors: Sequence[CompassError]) -> None:
    """Raise a lone error as it is, several as one ConfigError that lists them all, and nothing for none."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ConfigError([line for error in errors for line in getattr(error, "problems", (str(error),))])


def check_all(checks: Iterable[Callable[[], object]]) -> None:
    """Make all checks, and raise what they raise as `raise_together` does."""
    errors = []
    for check in checks:
        try:
            check()
        except CompassError as error:
            errors.append(error)
    raise_together(errors)


def _cut(message: str, longest: int) -> str:
    """Return a message without its middle where it is too long: the end often says what to do."""
    if len(message) <= longest:
        return message
    return f"{message[: longest * 2 // 3]} [...] {message[-longest // 4 :]}"
