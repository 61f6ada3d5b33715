"""The frontier as an application that Ray Serve builds by itself: for `serve deploy` and KubeRay's RayService.

`import_path: alpharay.serve.cluster.application:build`, `args: {config: PATH}` or `args: {embedded: NAME}`. `alpharay
serve` needs none of this.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alpharay.serve import config as configuration
from alpharay.serve.cluster.deployments import application
from alpharay.serve.cluster.prepare import prepare, with_store
from alpharay.serve.errors import ConfigError
from alpharay.serve.frontiers import embedded_config
from alpharay.serve.state import keys
from alpharay.serve.state.revision import Revision

log = logging.getLogger("ray.serve")


def build(arguments: Mapping[str, str]) -> Any:
    """The Ray Serve application of the configuration at `arguments["config"]`, or of an embedded frontier:
    `arguments["embedded"]`, else the default one.

    Merges the members and prepares the store first, in ALPHARAY_CACHE (which every node must see) unless the
    configuration names another place for the store. Host and port are Ray Serve's.

    Raises ConfigError: an argument that is none, or a configuration that cannot be used. Raises StartFailed: the store
    cannot be.
    """
    if unknown := set(arguments) - {"config", "embedded"}:
        raise ConfigError(
            f"args: {', '.join(sorted(unknown))} is no argument of this application; `config` and `embedded` are"
        )
    path, name = arguments.get("config"), arguments.get("embedded")
    if path and name:
        raise ConfigError("args: `config` and `embedded` are two frontiers; name one of them")
    loaded = configuration.load(Path(path) if path else embedded_config(name) if name else None)
    if loaded.server.api_keys_file is not None:
        keys.load(loaded.server.api_keys_file)
    members, specs = prepare(loaded, log.info)
    served = with_store(loaded, log.info)
    return application(Revision(config=served, members=members, specs=specs))
