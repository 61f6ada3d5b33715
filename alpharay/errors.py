"""The root of everything that alpharay raises on purpose.

AlpharayError
├── MergeError    alpharay.merge.errors: checkpoints that cannot be merged, or not be written
├── JudgeError    alpharay.judge.errors: problems that cannot be judged, or a machine that cannot judge
├── ServeError    alpharay.serve.errors: a server or a command that cannot do what it was asked
├── PluginError   alpharay.router.plugins: an installed policy or selector that cannot be used
└── NothingDrawn  alpharay.best_of: every sample was lost

A candidate's own behaviour is a verdict, never an exception.
"""


class AlpharayError(Exception):
    """Base of all; its text is one line for the user: what happened, and the way out."""
