"""Evidence beside the tests: examples in a prompt, and candidates' outputs on inputs whose answers are unknown.

::

    tests = own_tests or examples(prompt)
    probes = shared_inputs(tests, 12, seed=7)
    seen = await pool.judge(probes, completion, observe=True)   # seen.outputs: one digest per input, or None
"""

from alpharay.judge.behaviour.examples import examples, shown
from alpharay.judge.behaviour.inputs import shared_inputs
from alpharay.judge.behaviour.written import input_form, written_inputs

__all__ = ["examples", "input_form", "shared_inputs", "shown", "written_inputs"]
