"""The frontier as an application that Ray Serve builds by itself: for `serve deploy` and KubeRay's RayService.

`import_path: alpharay.serve.application:build`, `args: {config: PATH}`. `alpharay serve` needs none of this.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alpharay.serve import config as configuration
from alpharay.serve.deploy import application
from alpharay.serve.errors import ConfigError
from alpharay.serve.lineup import Lineup
from alpharay.serve.prepare import prepare

log = logging.getLogger("ray.serve")


def build(arguments: Mapping[str, str]) -> Any:
    """The Ray Serve application of the configuration at `arguments["config"]`, without it the embedded one.

    Merges the members first, into ALPHARAY_CACHE, which every node must see. Host and port are Ray Serve's.

    Raises ConfigError: an argument that is none, or a configuration that cannot be used.
    """
    if unknown := set(arguments) - {"config"}:
        raise ConfigError(
            f"args: {', '.join(sorted(unknown))} is no argument of this application; `config` is"
        )
    path = arguments.get("config")
    loaded = configuration.load(Path(path) if path else None)
    members, seats = prepare(loaded, log.info)
    return application(Lineup(config=loaded, members=members, seats=seats))
