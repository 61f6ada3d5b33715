"""Everything the judge raises. A candidate's own behaviour is a verdict, never an exception.

JudgeError
├── ProblemError          a problem or its tests are malformed
├── CandidateFileError    a line of a candidates file is malformed
├── SandboxUnavailable    no layer of isolation is safe to use here
├── LanguageUnavailable   what a language needs is not installed here
├── TrialFailed           a language's tools could not be tried just now
├── QueueFull             more runs are waiting than the pool accepts
├── RunRefused            a sandbox could not start a process for a run
└── WorkerDied            a sandbox ended in the middle of a run
"""

from alpharay.errors import AlpharayError


class JudgeError(AlpharayError):
    """Base of all; its text is one sentence for the user."""


class ProblemError(JudgeError):
    """A problem or its tests do not follow the format; the text names the field and the way out."""


class CandidateFileError(JudgeError):
    """A candidates file has a bad line; the text names the file and the line."""


class SandboxUnavailable(JudgeError):
    """No isolation on this machine passed its self-test; the text says what is missing."""


class LanguageUnavailable(JudgeError):
    """Programs in a language cannot be judged on this machine; the text says what is missing and how to get it."""


class TrialFailed(JudgeError):
    """The trial of a language's tools had no result, for want of time, memory or a sandbox; it is repeated."""


class QueueFull(JudgeError):
    """The pool's queue is at its bound; try again when some runs have ended."""


class RunRefused(JudgeError):
    """The kernel gave a sandbox no process for a run: the run is repeated, and never the candidate's fault."""


class WorkerDied(JudgeError):
    """A sandbox ended in the middle of a run: the run is repeated, and it is never the candidate's fault."""
