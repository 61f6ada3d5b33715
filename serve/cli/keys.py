"""Make an API key: the key itself for its user, its entry for the server's keys file."""

from __future__ import annotations

import argparse
import sys

import yaml
from pydantic import ValidationError

from alpharay.merge.errors import UsageError
from alpharay.serve.state import keys

_LIMITS = {
    "requests_per_minute": "requests over any 60 s",
    "samples_per_day": "samples drawn from midnight UTC on",
    "max_budget": "samples of one request; a larger budget is cut to it, and the answer says so",
    "concurrent": "requests at the same time",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="whose key it is; shown in messages and logs, so no secret")
    for limit, text in _LIMITS.items():
        parser.add_argument(f"--{limit.replace('_', '-')}", type=int, metavar="N", help=text)
    parser.add_argument("--admin", action="store_true", help="may change what is served: /v1/checkpoints")
    parser.epilog = (
        "The entry goes to standard output and the key, which is shown this once, to standard error:\n"
        "  alpharay keys alice --requests-per-minute 60 --max-budget 64 >> keys.yaml\n"
        "A running server whose `server.api_keys_file` is keys.yaml takes it within a second."
    )


def run(arguments: argparse.Namespace) -> int:
    try:
        limits = {limit: getattr(arguments, limit) for limit in _LIMITS}
        key, entry = keys.make(arguments.name, admin=arguments.admin, **limits)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{first['loc'][0]}: {first['msg']}") from error
    print(yaml.safe_dump([entry.model_dump(exclude_defaults=True)], sort_keys=False), end="")
    print(key, file=sys.stderr)
    return 0
