"""The dashboard by itself, and within a gateway."""

from __future__ import annotations

import os
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from compass.config import DashboardOptions, ServeOptions, validate
from compass.dashboard.app import PATH, Dashboard, mount
from compass.dashboard.places import Places
from compass.dashboard.sessions import keys_or_own
from compass.errors import ConfigError
from compass.registry import Registry
from compass.registry.commands import no_folder
from compass.serve.fleet import Fleet
from compass.serve.keys import read_keys
from compass.serve.start import check_address, make_application, run_server


def make_dashboard(options: ServeOptions | DashboardOptions, fleet: Fleet | None = None) -> Dashboard:
    """Return the dashboard that the options describe. Raises ConfigError."""
    own = options.serve
    places = Places(
        Registry(Path(options.registry.registry_dir)), Path(options.watch.watch_dir), Path(own.serve_dir),
        database=options.monitor.database, retention_days=options.monitor.retention_days,
        mlflow_uri=options.registry.mlflow_uri,
    )  # fmt: skip
    keys = keys_or_own(read_keys(own.keys_file, os.environ), Path(own.serve_dir))
    return Dashboard(places, keys, gate=options.gate, fleet=fleet)


def check_folders(options: ServeOptions | DashboardOptions) -> None:
    """Raise ConfigError where a file is in the place of a folder that is written to, before anything listens."""
    problems = []
    for name, folder in (("serve_dir", options.serve.serve_dir), ("watch_dir", options.watch.watch_dir)):
        there = next((place for place in (Path(folder), *Path(folder).parents) if place.exists()), None)
        if there and not there.is_dir():
            problems.append(f"{name}: {folder} can't be a folder: {there} is a file. Name another")
    if problems:
        raise ConfigError(problems)


def serve(options: ServeOptions) -> None:
    """Serve the gateway and its dashboard until SIGTERM or Ctrl-C. Raises ConfigError or MonitorError."""
    validate(options)
    check_folders(options)
    check_address(options.serve)
    app = make_application(options)
    dashboard = make_dashboard(options, app.state.gateway.fleet)
    mount(app, dashboard)
    run_server(app, options.serve, [dashboard.live.stop], told=f"{PATH}/")


def start(options: DashboardOptions) -> None:
    """Serve the dashboard alone until SIGTERM or Ctrl-C. Raises ConfigError."""
    validate(options)
    if not Path(options.registry.registry_dir).is_dir():
        raise ConfigError(f"registry_dir: {no_folder(options.registry.registry_dir)}")
    check_folders(options)
    check_address(options.serve)
    dashboard = make_dashboard(options)

    async def home(_request: Request) -> Response:
        return RedirectResponse(f"{PATH}/", 303)

    app = Starlette(routes=[Route("/", home)])
    mount(app, dashboard)
    run_server(app, options.serve, [dashboard.live.stop], told=f"{PATH}/")
