"""Everything that a merge refuses, as one tree.

MergeError
├── UsageError              the request itself makes no sense (exit code 2)
├── CheckpointError         one input cannot be read as a checkpoint
│   ├── NotACheckpoint      no directory, or no safetensors in it
│   ├── PickleCheckpoint    weights only as pickles, which are never loaded
│   ├── QuantisedCheckpoint GPTQ, AWQ, FP8 ...: stored codes cannot be averaged
│   ├── TruncatedFile       a file ends before its header says
│   ├── BadHeader           a header or an index contradicts itself or its file
│   ├── UnsupportedAdapter  a LoRA adapter of a kind that has no exact combination
│   ├── BadDelta            a sparse delta file is damaged
│   ├── NonFinite           a weight is NaN or Inf
│   └── InputChanged        a file changed while it was being read
├── Mismatch                the inputs do not belong together
│   ├── MissingTensor, ExtraTensor, ShapeMismatch, DtypeMismatch, IntegerMismatch
│   ├── AdapterMismatch     two LoRA adapters are not of one base
│   ├── DeltaMismatch       a sparse delta was made from another checkpoint
│   ├── ConfigMismatch      config.json differs where it matters
│   └── TokenizerMismatch   the same token id would mean different text
├── OverflowedOutput        a merged weight does not fit the output's dtype
└── TargetError             the output directory cannot be written
    ├── TargetExists, TargetIsInput, TargetBusy, NoSpace

Every message names the file or tensor and ends with the way out.
"""

from alpharay.errors import AlpharayError


class MergeError(AlpharayError):
    """Base of everything that the merge refuses; its text is one line for the user."""


class UsageError(MergeError):
    """The request is wrong whatever the files hold: the command line answers with exit code 2."""


class CheckpointError(MergeError):
    """An input cannot be read as a checkpoint."""


class NotACheckpoint(CheckpointError):
    """The path is not a directory that holds safetensors weights."""


class PickleCheckpoint(CheckpointError):
    """The weights are pickles. Loading one runs whatever code it contains, so it is never loaded."""


class QuantisedCheckpoint(CheckpointError):
    """The weights are integer or FP8 codes with scales; averaging codes is meaningless."""


class TruncatedFile(CheckpointError):
    """A file is shorter than its header says."""


class BadHeader(CheckpointError):
    """A safetensors header or an index contradicts itself or the file it describes."""


class UnsupportedAdapter(CheckpointError):
    """A LoRA adapter whose update is more than a scaled product of two factors."""


class BadDelta(CheckpointError):
    """A sparse delta file is truncated or damaged."""


class NonFinite(CheckpointError):
    """An input weight is NaN or Inf."""


class InputChanged(CheckpointError):
    """An input file was modified while it was being merged."""


class Mismatch(MergeError):
    """The inputs are not checkpoints of one model."""


class MissingTensor(Mismatch):
    """A tensor of the first checkpoint is missing in another."""


class ExtraTensor(Mismatch):
    """Another checkpoint has a tensor that the first has not."""


class ShapeMismatch(Mismatch):
    """Shapes differ; broadcasting would hide a wrong checkpoint, so equal means equal."""


class DtypeMismatch(Mismatch):
    """Dtypes differ and the caller has not said which one to write."""


class IntegerMismatch(Mismatch):
    """An integer tensor differs: it is data or an index, and has no average."""


class AdapterMismatch(Mismatch):
    """Two LoRA adapters adapt different bases or weights."""


class DeltaMismatch(Mismatch):
    """A sparse delta was made from other weights than those it is to be applied to."""


class ConfigMismatch(Mismatch):
    """config.json differs in something that changes what the weights mean."""


class TokenizerMismatch(Mismatch):
    """The tokenizers differ."""


class OverflowedOutput(MergeError):
    """A merged weight is larger than the output's dtype can hold."""


class TargetError(MergeError):
    """The output directory cannot be written."""


class TargetExists(TargetError):
    """The output directory holds something else than this very merge."""


class TargetIsInput(TargetError):
    """Writing the output would overwrite an input."""


class TargetBusy(TargetError):
    """Another process is writing the same output directory."""


class NoSpace(TargetError):
    """The disk cannot hold the outputs."""
