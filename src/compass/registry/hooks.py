"""Hooks: tell a webhook and a shell command of events.

A hook that fails is logged and reported, and never raises: the loop that calls it goes on.

The webhook gets the event's JSON by POST. With a secret, `X-Compass-Signature: sha256=<hex>` is the HMAC-SHA256 of
`<X-Compass-Timestamp>.<body>`: a receiver that compares it (`verify_signature`) knows who sent the event, and one that
looks at the time can't be fooled by a repeat. An event may arrive twice; its `id`, also in `X-Compass-Delivery`, is the
same then. Addresses and secrets stay out of logs: addresses of webhooks often carry a token.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from compass.config import HOOK_EVENTS, HookConfig
from compass.errors import ConfigError
from compass.registry.events import RegistryEvent

logger = logging.getLogger(__name__)

SECRET_VARIABLE = "COMPASS_WEBHOOK_SECRET"
"""Environment variable with the secret of the signature."""
WEBHOOK_ATTEMPTS = 5
"""Attempts to deliver an event to the webhook."""
WEBHOOK_TIMEOUT = 10.0
"""Seconds for one attempt at the webhook: connecting, sending and reading together."""
COMMAND_TIMEOUT = 60.0
"""Seconds after which the shell command is ended."""
LONGEST_WAIT = 30.0
"""Seconds between two attempts, at most, whatever the receiver asks for."""
TRY_AGAIN = {408, 425, 429}
"""Answers after which a later attempt may succeed, besides 5xx."""
SHOWN = 300
"""Characters of a failed command's stderr that are logged."""


@dataclass(frozen=True)
class Delivery:
    """What became of one event at one hook."""

    hook: str
    """`webhook` or `command`."""
    event: str
    """The event's id."""
    ok: bool
    attempts: int
    seconds: float
    problem: str = ""
    """Why it failed; empty where it didn't."""


class _TryAgainError(Exception):
    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


class _RefusedError(Exception):
    pass


class Hooks:
    """The hooks of a configuration. The secret is read from the environment at each delivery."""

    def __init__(
        self,
        config: HookConfig,
        *,
        sleep: Callable[[float], None] = time.sleep,
        webhook_timeout: float = WEBHOOK_TIMEOUT,
        command_timeout: float = COMMAND_TIMEOUT,
    ) -> None:
        """Check the configuration; nothing is sent yet. Raises ConfigError for an address or an event that can't be.

        sleep: waits between two attempts. webhook_timeout, command_timeout: seconds.
        """
        problems = []
        if config.webhook_url and not re.match(r"https?://[^/\s]", config.webhook_url):
            # The address itself may be secret.
            problems.append("webhook_url must begin with https:// or http:// and name a host; this value does not")
        unknown = sorted(set(config.hook_events) - set(HOOK_EVENTS))
        if unknown:
            problems.append(f"hook_events must be among {', '.join(HOOK_EVENTS)}; got {', '.join(unknown)}")
        if problems:
            raise ConfigError(problems)
        self._config = config
        self._sleep = sleep
        self._webhook_timeout = webhook_timeout
        self._command_timeout = command_timeout

    def send(self, event: RegistryEvent) -> tuple[Delivery, ...]:
        """Tell every hook of an event, one after the other, and return what became of it. Never raises for a hook.

        The longest it can take: WEBHOOK_ATTEMPTS times the webhook's timeout and the pauses between them, and the
        command's timeout.
        """
        if event.kind not in self._config.hook_events:
            return ()
        hooks: list[tuple[str, str, Callable[[RegistryEvent], int]]] = [
            ("webhook", self._config.webhook_url, self._post),
            ("command", self._config.hook_command, self._run),
        ]
        return tuple(self._deliver(name, call, event) for name, setting, call in hooks if setting)

    def _deliver(self, name: str, call: Callable[[RegistryEvent], int], event: RegistryEvent) -> Delivery:
        start = time.monotonic()
        attempts, problem = 1, ""
        try:
            attempts = call(event)
        except _TryAgainError as error:
            attempts, problem = WEBHOOK_ATTEMPTS, str(error)
        except Exception as error:
            # Whatever goes wrong in a hook, the loop goes on. The message may quote an address or a secret.
            problem = self._clean(
                f"{error}" if isinstance(error, _RefusedError) else f"{type(error).__name__}: {error}"
            )
        seconds = round(time.monotonic() - start, 3)
        if problem:
            logger.warning("The %s failed for the event %s (%s): %s", name, event.kind, event.id, problem)
        return Delivery(name, event.id, not problem, attempts, seconds, problem)

    def _post(self, event: RegistryEvent) -> int:
        """Return the attempts that it took."""

        body = json.dumps(event.to_dict(), ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
        retrying = Retrying(
            stop=stop_after_attempt(WEBHOOK_ATTEMPTS),
            wait=_wait,
            retry=retry_if_exception_type(_TryAgainError),
            before_sleep=_tell,
            reraise=True,
            sleep=self._sleep,
        )
        retrying(self._post_in_time, event, body)
        return int(retrying.statistics["attempt_number"])

    def _post_in_time(self, event: RegistryEvent, body: bytes) -> None:
        """Post once, within the timeout. httpx has limits for each read alone, which one byte at a time never meets."""
        import httpx

        failed: list[Exception] = []

        def post() -> None:
            try:
                self._post_once(client, event, body)
            except Exception as error:
                failed.append(error)

        # No redirects: a signed event goes where the user said, and nowhere else.
        client = httpx.Client(timeout=self._webhook_timeout, follow_redirects=False)
        thread = threading.Thread(target=post, name="compass-webhook", daemon=True)
        thread.start()
        thread.join(self._webhook_timeout)
        late = thread.is_alive()
        # Closes the connection under a thread that is late; its next read is its last.
        client.close()
        if late:
            raise self._too_late()
        if failed:
            raise failed[0]

    def _post_once(self, client: Any, event: RegistryEvent, body: bytes) -> None:
        import httpx

        from compass.endpoint import retry_after

        headers = {
            "Content-Type": "application/json",
            "User-Agent": "compass-peft",
            "X-Compass-Event": event.kind,
            "X-Compass-Delivery": event.id,
        }
        secret = self._secret()
        if secret:
            # Signed anew at each attempt, or a receiver that looks at the time would refuse the late ones.
            stamp = str(int(time.time()))
            headers |= {"X-Compass-Timestamp": stamp, "X-Compass-Signature": signature(secret, stamp, body)}
        try:
            # Streamed: what the receiver says is of no use, however long it is.
            with (
                _without_addresses(self._config.webhook_url),
                client.stream("POST", self._config.webhook_url, content=body, headers=headers) as response,
            ):
                status, asked = response.status_code, response.headers.get("Retry-After", "")
        except httpx.TimeoutException:
            raise self._too_late() from None
        except httpx.TransportError as error:
            raise _TryAgainError(self._clean(f"{type(error).__name__}: {error}")) from None
        if status in TRY_AGAIN or status >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise _TryAgainError(f"it answered HTTP {status}", retry_after(asked, datetime.now(UTC)))
        if not 200 <= status < 300:
            raise _RefusedError(f"it answered HTTP {status}. Check webhook_url and the receiver's secret")

    def _too_late(self) -> _TryAgainError:
        return _TryAgainError(f"it did not answer within {self._webhook_timeout:g} s")

    def _run(self, event: RegistryEvent) -> int:
        # The command has no need of the webhook's secret.
        environment = {key: value for key, value in os.environ.items() if key != SECRET_VARIABLE}
        environment |= {"COMPASS_EVENT": event.kind, "COMPASS_LANGUAGE": event.language}
        # Files, not pipes: a grandchild that keeps a pipe open would keep us waiting.
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said:
            given.write(json.dumps(event.to_dict(), ensure_ascii=False, allow_nan=False).encode("utf-8", "replace"))
            given.seek(0)
            process = subprocess.Popen(
                self._config.hook_command,
                shell=True,
                stdin=given,
                stdout=subprocess.DEVNULL,
                stderr=said,
                env=environment,
                start_new_session=True,
            )
            try:
                code = process.wait(timeout=self._command_timeout)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                limit = f"{self._command_timeout:g}"
                raise _RefusedError(f"it ran longer than {limit} s and was stopped") from None
            if code:
                said.seek(0)
                text = said.read(4 * SHOWN).decode("utf-8", "replace").strip()[:SHOWN]
                raise _RefusedError(f"it exited with status {code}" + (f" and wrote {text!r}" if text else ""))
        return 1

    def _secret(self) -> str:
        return os.environ.get(SECRET_VARIABLE, "").strip()

    def _clean(self, text: str) -> str:
        for hidden in (self._secret(), self._config.webhook_url):
            text = text.replace(hidden, "***") if hidden else text
        return text


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Return the value of `X-Compass-Signature`."""
    return (
        "sha256="
        + hmac.new(
            secret.encode("utf-8", "surrogateescape"), timestamp.encode() + b"." + body, hashlib.sha256
        ).hexdigest()
    )


def verify_signature(
    secret: str, timestamp: str, body: bytes, given: str, *, now: float | None = None, tolerance: float = 300.0
) -> bool:
    """Say, on the receiver's side, whether a delivery is genuine and not older than `tolerance` seconds."""
    try:
        age = abs((time.time() if now is None else now) - float(timestamp))
    except ValueError:
        return False
    genuine = hmac.compare_digest(signature(secret, timestamp, body).encode(), given.encode("utf-8", "replace"))
    return genuine and age <= tolerance


@contextmanager
def _without_addresses(url: str) -> Iterator[None]:
    """Keep the address out of what httpx logs of the request meanwhile."""
    import httpx

    spellings = (str(httpx.URL(url)), url)

    class Hide(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            text = record.getMessage()
            for spelling in spellings:
                text = text.replace(spelling, "the webhook")
            record.msg, record.args = text, ()
            return True

    hide = Hide()
    noisy = logging.getLogger("httpx")
    noisy.addFilter(hide)
    try:
        yield
    finally:
        noisy.removeFilter(hide)


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, _TryAgainError) and error.after is not None:
        return min(error.after, LONGEST_WAIT)
    return min(wait_random_exponential(multiplier=0.5, max=LONGEST_WAIT)(state), LONGEST_WAIT)


def _tell(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    pause = state.next_action.sleep if state.next_action else 0.0
    logger.info("The webhook: %s; attempt %d follows in %.1f s", error, state.attempt_number + 1, pause)
