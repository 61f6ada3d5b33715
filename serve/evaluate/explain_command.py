"""`alpharay explain`: why a served request was answered as it was, from the store."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("response", metavar="RESPONSE_ID", help="the `id` of an answer")
    parser.add_argument(
        "config", nargs="?", type=Path, metavar="CONFIG", help="configuration (YAML) that names the store"
    )
    parser.add_argument(
        "--store", metavar="URL", help="the store instead (default: the server's own, in its cache folder)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.epilog = (
        "example:\n  alpharay explain chatcmpl-4f2a frontier.yaml\n\n"
        "Prints wave by wave what was drawn, what came of it and what was believed, and what other policies would have\n"
        "done with the same samples. Requests are kept as `store_keep` and `store_size` say."
    )


def run(arguments: argparse.Namespace) -> int:
    import json

    from alpharay.judge.sandbox.cache_folder import cache_folder
    from alpharay.router import POLICIES
    from alpharay.serve import config as configuration
    from alpharay.serve.errors import OutcomesError
    from alpharay.serve.evaluate.explain import as_json, explained, lines
    from alpharay.serve.learn.learning import router_state_at
    from alpharay.serve.learn.recording import folded_of, portfolio_of, recorded_id
    from alpharay.serve.learn.store import StoreDown, UnknownRequest, existing_store

    named = arguments.store
    if named is None and arguments.config is not None:
        named = configuration.load(arguments.config).store
    store = existing_store(named, Path.cwd(), cache_folder())
    try:
        trace = store.trace(recorded_id(arguments.response) or arguments.response)
        if trace["policy"] not in POLICIES:
            raise OutcomesError(
                f"{arguments.response} was decided by the policy {trace['policy']!r}, which is not installed here"
            )
        state = router_state_at(store, trace["checkpoints"], folded_of(trace), portfolio_of(trace))
        explanation = explained(trace, state)
    except UnknownRequest as error:
        raise OutcomesError(f"{store.shown}: {error}") from error
    except StoreDown as error:
        raise OutcomesError(f"{store.shown} cannot be read: {error}") from error
    except (KeyError, ValueError) as error:
        raise OutcomesError(f"{arguments.response} was recorded by another version: {error}") from error
    finally:
        store.close()
    if arguments.json:
        print(json.dumps(as_json(arguments.response, explanation), indent=2))
    else:
        print("\n".join(lines(arguments.response, explanation)))
    return 0
