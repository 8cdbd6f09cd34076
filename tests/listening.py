"""Applications that listen on a port of their own, in a thread of this process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn


@contextmanager
def listening(app: Any, *, lifespan: str = "on", stop: Callable[[], object] = lambda: None) -> Iterator[str]:
    """Serve an application; yield its address. stop: called before it ends, for streams that have no end."""
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        # From here on who connects waits for the server in place of being refused.
        port.listen()
        config = uvicorn.Config(app, log_config=None, access_log=False, ws="none", lifespan=lifespan)  # type: ignore[arg-type]
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [port]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{port.getsockname()[1]}"
        finally:
            stop()
            server.should_exit = True
            thread.join(timeout=30)
